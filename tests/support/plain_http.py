"""A client of one keep-alive connection to a server on loopback: bytes out, bytes in.

Where a test sends thousands of requests one after the other, httpx costs as much as the server does: a millisecond of
CPU each, a fifth of this.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

LINE_END = b"\r\n"
WITHOUT_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    reason: str
    headers: dict[str, list[str]]
    """Names in lower case."""
    content: bytes


class PlainClient:
    """`base_url` is plain HTTP. Requests are sent one at a time; a failed one raises OSError or EOFError."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        assert parts.scheme == "http", base_url
        assert parts.hostname is not None, base_url
        self._address = (parts.hostname, parts.port or 80)
        self._host = parts.netloc.encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def request(
        self, method: str, target: str, headers: Sequence[tuple[bytes, bytes]] = (), content: bytes = b""
    ) -> Answer:
        """`target` is the path with its query, encoded. `Host` and `Content-Length` are added where they lack."""
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} HTTP/1.1".encode()]
        if b"host" not in names:
            lines.append(b"host: " + self._host)
        if b"content-length" not in names and (content or method not in ("GET", "HEAD", "DELETE", "OPTIONS")):
            lines.append(b"content-length: %d" % len(content))
        lines += [name + b": " + value for name, value in headers]
        message = LINE_END.join(lines) + LINE_END * 2 + content
        for again in (False, True):
            kept = self._streams is not None
            try:
                return await self._exchange(method, message)
            except BaseException as error:
                await self._close()
                # The server may close a connection that it has kept, before it has read anything of this request.
                unread = isinstance(error, ConnectionError) or (
                    isinstance(error, asyncio.IncompleteReadError) and not error.partial
                )
                if again or not kept or not unread:
                    raise
        raise AssertionError("unreachable")

    async def _exchange(self, method: str, message: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(message)
        head = (await reader.readuntil(LINE_END * 2)).decode("latin-1").split("\r\n")
        _, status, reason = f"{head[0]} ".split(" ", 2)
        headers: dict[str, list[str]] = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        bodiless = method == "HEAD" or int(status) in WITHOUT_BODY
        content = b"" if bodiless else await _body(reader, headers)
        if headers.get("connection") == ["close"]:
            await self._close()
        return Answer(int(status), reason.strip(), headers, content)

    async def _close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, headers: dict[str, list[str]]) -> bytes:
    if headers.get("transfer-encoding") == ["chunked"]:
        pieces: list[bytes] = []
        while size := int(await reader.readuntil(LINE_END), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(LINE_END)  # No trailers.
        return b"".join(pieces)
    if length := headers.get("content-length"):
        return await reader.readexactly(int(length[0]))
    return await reader.read()
