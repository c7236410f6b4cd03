"""Reads responses of untrusted servers in chunks, decompresses them here, and never reads more than a limit.

The HTTP client does not decompress: a kilobyte of gzip may expand to a megabyte, so each step of decompression has a
limit too."""

import codecs
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import orjson

READ_BYTES: Final = 64 * 1024
JSON_MEMORY_BYTES_MAX: Final = 24 * 1024 * 1024
"""Memory of a parsed response. A body of brackets needs about 25 times its own size."""
_OBJECT_BYTES, _LIST_BYTES, _VALUE_BYTES = 250, 90, 40


class BodyError(ValueError):
    """The body cannot be read; the message continues after "the answer"."""


class _Unpacking:
    """gzip or deflate, also in several members, at most READ_BYTES at a time."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._unpacker: Any = None

    def pieces(self, data: bytes) -> Any:
        while data:
            if self._unpacker is None:
                self._unpacker = zlib.decompressobj(self._window(data))
            try:
                piece = self._unpacker.decompress(data, READ_BYTES)
            except zlib.error as error:
                raise BodyError(f"says that it is {self._encoding} and is not") from error
            if piece:
                yield piece
            if self._unpacker.eof:
                data, self._unpacker = self._unpacker.unused_data.lstrip(b"\0"), None
            else:
                data = self._unpacker.unconsumed_tail

    def end(self) -> None:
        if self._unpacker is not None:
            raise BodyError(f"ends in the middle of its {self._encoding}")

    def _window(self, data: bytes) -> int:
        if self._encoding == "gzip":
            return 16 + zlib.MAX_WBITS
        # Some servers send deflate without zlib's header.
        return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS


async def pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body, unpacked, at most READ_BYTES at a time. Raises BodyError, and what the client raises."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        while piece := await response.content.read(READ_BYTES):
            yield piece
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BodyError(f"is packed as {encoding[:40]}, which was not asked for")
    unpacking = _Unpacking(encoding.removeprefix("x-"))
    while data := await response.content.read(READ_BYTES):
        for piece in unpacking.pieces(data):
            yield piece
    unpacking.end()


async def read_bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, or its first `bytes_max` + 1 bytes: enough to see that there are more. Raises BodyError, and what the
    client raises.
    """
    content = bytearray()
    async for piece in pieces(response):
        content += piece
        if len(content) > bytes_max:
            break
    return bytes(content[: bytes_max + 1])


def charset_of(response: aiohttp.ClientResponse) -> str:
    """The body's text encoding, if Python knows it; else UTF-8."""
    try:
        found = codecs.lookup(response.charset or "utf-8")
    except (LookupError, ValueError):
        return "utf-8"
    return found.name if found._is_text_encoding else "utf-8"  # noqa: SLF001 # pyright: ignore


def decoded(content: bytes, response: aiohttp.ClientResponse) -> str:
    """The body as text. What its encoding cannot read, or an encoding that cannot replace, is read as UTF-8."""
    try:
        return content.decode(charset_of(response), "replace")
    except UnicodeError:
        return content.decode("utf-8", "replace")


async def read_json(response: aiohttp.ClientResponse, bytes_max: int) -> Any:
    """The body as JSON. Raises BodyError (a ValueError, as what is no JSON raises) and what the client raises."""
    content = await read_bounded(response, bytes_max)
    if len(content) > bytes_max:
        raise BodyError(f"is longer than {bytes_max} bytes")
    return parse_json(content)


def parse_json(content: bytes) -> Any:
    """Parses JSON unless its objects would need too much memory. Raises BodyError."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    needed = (
        len(content)
        + content.count(b"{") * _OBJECT_BYTES
        + content.count(b"[") * _LIST_BYTES
        + content.count(b",") * _VALUE_BYTES
    )
    if needed > JSON_MEMORY_BYTES_MAX:
        raise BodyError("has more parts than this server reads")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BodyError("is no JSON") from error
