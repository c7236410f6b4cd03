"""Packs and unpacks summaries of conversations, for the items that carry them. Pure."""

import base64
import binascii
from typing import Any, Final

PREFIX: Final = "stoa-1."
BEFORE: Final = "What was said before, summed up:"


def packed(summary: str) -> str:
    return PREFIX + base64.urlsafe_b64encode(summary.encode()).decode()


def unpacked(content: Any) -> str | None:
    """None for a summary of another server."""
    if not isinstance(content, str) or not content.startswith(PREFIX):
        return None
    try:
        return base64.b64decode(content.removeprefix(PREFIX), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
