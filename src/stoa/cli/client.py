"""A client of the public HTTP API. Standard library only, so that a command starts at once."""

import http.client
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

SECONDS_MAX = 60


class ApiError(Exception):
    """The server refused, or cannot be reached; the message is for the person at the terminal."""


def call(
    method: str, url: str, key: str, path: str, body: object | None = None, headers: dict[str, str] | None = None
) -> Any:
    """One JSON call. Raises ApiError."""
    data = None if body is None else json.dumps(body).encode()
    with open_call(method, url, key, path, data, {"Content-Type": "application/json", **(headers or {})}) as answer:
        return json.loads(answer.read() or b"null")


@contextmanager
def open_call(
    method: str, url: str, key: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> Generator[http.client.HTTPResponse]:
    """One call whose answer is read by the caller. Raises ApiError."""
    request = Request(  # noqa: S310
        url.rstrip("/") + path, data, {"Authorization": f"Bearer {key}", **(headers or {})}, method=method
    )
    try:
        answer = _opener(url).open(request, timeout=SECONDS_MAX)
    except HTTPError as error:
        raise ApiError(_message(error)) from error
    except (URLError, OSError, http.client.HTTPException) as error:
        raise ApiError(
            f"No server answers at {url} ({getattr(error, 'reason', error)}). Start one with: stoa serve"
        ) from error
    with answer:
        yield answer


def _opener(url: str) -> OpenerDirector:
    """A proxy of the environment is never asked for this machine."""
    host = urlsplit(url).hostname or ""
    here = host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")
    return build_opener(ProxyHandler({})) if here else build_opener()


def _message(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {error.code}."
