"""The bodies of an MCP server's answers, as the SDK reads them."""

import re
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import httpx2

from stoa.outbound.client import BodyError, pieces
from stoa.tools.providers.mcp.messages import NoMessage, Request, repaired

_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")
_LINE: Final = re.compile(rb"\r\n|\n|\r")


class Whole(httpx2.AsyncByteStream):
    """The bytes unchanged, up to a limit."""

    def __init__(self, response: aiohttp.ClientResponse, bytes_max: int) -> None:
        self._response = response
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in _received(self._response):
            total += len(chunk)
            if total > self._bytes_max:
                raise httpx2.StreamError(f"the answer is over {self._bytes_max} bytes")
            yield chunk

    async def aclose(self) -> None:
        self._response.close()


class Events(httpx2.AsyncByteStream):
    """An event stream with its messages repaired; `request` is what it answers.

    An event without a message is left out, one of any name is taken, and the last one needs no blank line.
    """

    def __init__(self, response: aiohttp.ClientResponse, request: Request | None, bytes_max: int) -> None:
        self._response = response
        self._request = request
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = bytearray()
        async for chunk in _received(self._response):
            looked_at = max(0, len(rest) - 3)  # A blank line may begin in the piece before.
            rest += chunk
            while (end := _BLANK_LINE.search(rest, looked_at)) is not None:
                yield self._event(bytes(rest[: end.start()]))
                del rest[: end.end()]
                looked_at = 0
            if len(rest) > self._bytes_max:
                raise httpx2.StreamError(f"an event is over {self._bytes_max} bytes")
        if rest.strip():
            yield self._event(bytes(rest))

    def _event(self, event: bytes) -> bytes:
        data: list[bytes] = []
        made: list[bytes] = []
        for line in _LINE.split(event.removeprefix(b"\xef\xbb\xbf")):
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            elif name in (b"id", b"retry"):
                made.append(line)
        text = b"\n".join(data)
        if text.strip():
            try:
                message = repaired(text, self._request)
            except NoMessage:
                pass  # Some servers send "[DONE]", or text for people.
            else:
                made.append(b"data: " + message.replace(b"\r", b" ").replace(b"\n", b" "))
        elif data:
            made.append(b"data:")
        return b"\n".join([*made, b"", b""]) if made else b":\n\n"

    async def aclose(self) -> None:
        self._response.close()


async def _received(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in pieces(response):
            yield chunk
    except BodyError as error:
        raise httpx2.StreamError(f"the answer {error}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx2.StreamError("the connection fell while the answer was read") from error
