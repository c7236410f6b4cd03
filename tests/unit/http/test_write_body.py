"""A piece of a stream that is written past `send` is the same bytes on the wire."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stoa.http.connections import Connection, ConnectionLimits, Guard
from stoa.http.sse import WRITE_BODY, EventStream, Write

PIECES = [b"id: 1\ndata: a\n\n", b"", b"id: 2\ndata: " + b"b" * 5_000 + b"\n\n", b": heartbeat\n\n"]


class Pieces:
    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def deliver(self, write: Write) -> None:
        for piece in PIECES:
            if piece and (blocked := write(piece)):
                await blocked

    def close(self) -> None:
        self.left.set()


@asynccontextmanager
async def serving(http: Any, seen: list[bool]) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(WRITE_BODY in scope)
        await EventStream(Pieces())(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, log_config=None, lifespan="off", ws="none", date_header=False)
    web = uvicorn.Server(config)
    config.load()
    web.lifespan = config.lifespan_class(config)
    await web.startup([listening])
    try:
        yield listening.getsockname()[1]
    finally:
        await web.shutdown([listening])


async def told(port: int, method: bytes, version: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"%b / HTTP/%b\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, version))
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return re.sub(rb"date: [^\r]*\r\n", b"", said)


async def test_the_fast_and_the_slow_path_write_the_same() -> None:
    answers: list[list[bytes]] = []
    ways: list[bool] = []
    for http in (HttpToolsProtocol, partial(Connection, Guard(ConnectionLimits()))):
        async with asyncio.timeout(10), serving(http, ways) as port:
            asked = [(b"GET", b"1.1"), (b"GET", b"1.0"), (b"HEAD", b"1.1")]
            answers.append([await told(port, method, version) for method, version in asked])
    assert answers[0] == answers[1]
    assert b"data: a" in answers[1][0]
    assert ways == [False] * 3 + [True] * 3
