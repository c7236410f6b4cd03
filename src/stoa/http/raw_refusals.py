"""Responses to input that is not a request: bytes for the socket, in the error envelope."""

from typing import Final
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from stoa.http import errors

CROWDED: Final = "This server has no file descriptor to spare for another connection; try again in a moment."


def head_too_large(bytes_max: int, fields_max: int) -> tuple[int, str, str]:
    message = f"The request line and header fields are over {bytes_max // 1024} KiB or {fields_max} fields."
    return 431, "head_too_large", message


def malformed(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return 400, "bad_request", "This is no HTTP/1.1 request: its method is unknown."
    return 400, "bad_request", "This is no HTTP/1.1 request that can be read."


def refusal(status: int, code: str, message: str) -> bytes:
    content = errors.body(code, message)
    retry = b"retry-after: 1\r\n" if status in (429, 503) else b""
    return (
        b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%bx-request-id: %b\r\nconnection: close\r\n\r\n%b"
        % (STATUS_LINE[status], len(content), retry, str(uuid4()).encode(), content)
    )
