"""Reads the fields of a page's form, and checks where it redirects to."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

FORM_BYTES_MAX: Final = 16 * 1024


async def sent(request: Request) -> Mapping[str, str]:
    """The fields. Empty if the body is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def own_path(wanted: str) -> str:
    """The path to redirect to. Anything that is not a path of this server is replaced."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return "/"
    return wanted if wanted.isprintable() and (wanted == "/" or wanted.startswith("/console/")) else "/"
