"""Says in words why an outbound call failed. Imports aiohttp, so it is imported at the first outbound call."""

import os
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, LineTooLong, TransferEncodingError
from yarl import URL

from stoa.outbound.errors import cause

_SENTENCES: Final[Sequence[tuple[tuple[type[BaseException], ...], str]]] = (
    ((socket.gaierror,), "The host {host} cannot be resolved."),
    ((ConnectionRefusedError,), "{address} cannot be reached: it refused the connection; does something listen there?"),
    ((ssl.SSLError,), "{address} cannot be reached over TLS: {said}."),
    (
        (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError),
        "{address} closed the connection before it had answered.",
    ),
    (
        (aiohttp.ClientPayloadError, TransferEncodingError, ContentLengthError),
        "{address} closed the connection in the middle of its answer.",
    ),
    ((LineTooLong,), "{address} sent a header that is too large."),
    (
        (aiohttp.ClientResponseError, HttpProcessingError),
        "{address} answered with HTTP that cannot be read: {said}.",
    ),
    ((TimeoutError,), "{address} cannot be reached: it did not answer in time."),
    ((OSError,), "{address} cannot be reached: {said}."),
)


def failure(error: BaseException, url: str) -> str:
    """A sentence for a user, with the address that was called."""
    if (found := cause(error)) is not None:
        return str(found)
    host, address = _address(url)
    for one in _causes(error):
        for kinds, sentence in _SENTENCES:
            if isinstance(one, kinds):
                return sentence.format(host=host, address=address, said=_said(one))
    return f"{address} cannot be reached: {_said(error)}."


def _causes(error: BaseException) -> Sequence[BaseException]:
    """The error and what it wraps, the innermost first: aiohttp's own errors say less than those of the socket."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in seen:
            seen.append(one)
            waiting += [one.__cause__, getattr(one, "os_error", None)]
    return seen[::-1]


def _address(url: str) -> tuple[str, str]:
    """The host, and the host with its port."""
    try:
        parts = URL(url)
    except ValueError:
        return url[:100], url[:100]
    host = parts.host or url[:100]
    return host, f"{host}:{parts.port}" if parts.port is not None else host


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "the handshake failed").replace("_", " ").lower()
        return f"{reason} (is it a server without TLS?)" if error.reason in _NO_TLS else reason
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    text = str(getattr(error, "message", "") or error).strip().partition("\n")[0]
    return " ".join(text.split())[:200].rstrip(".:") or "the call failed"


_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "HTTP_REQUEST"})
