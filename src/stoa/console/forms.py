"""What a form of a page has sent, and where it leads."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

FORM_BYTES_MAX: Final = 16 * 1024


async def sent(request: Request) -> Mapping[str, str]:
    """Nothing, where it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def own_path(wanted: str) -> str:
    """Where to go on: a page of this server, never another one."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return "/"
    return wanted if wanted.isprintable() and (wanted == "/" or wanted.startswith("/console/")) else "/"
