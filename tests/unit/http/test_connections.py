"""A guarded connection, used by clients that send a request before the response ahead of it has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import uvicorn

from stoa.cli.listening import bind
from stoa.http.connections import AHEAD_BYTES_MAX, Connection, ConnectionLimits, Guard

READ_BYTES = 256 * 1024
"""What uvloop and asyncio give a protocol at once."""


class Serving:
    """`GET /first` sends all of its two bytes, and ends its response when it is released; `POST /second` reads its
    whole body and answers with its length."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.port = 0
        self.connections: set[Any] = set()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        length = 0
        if scope["path"] == "/second":
            more = True
            while more:
                message = await receive()
                length += len(message["body"])
                more = message["more_body"]
        content = b"ok" if scope["path"] == "/first" else str(length).encode()
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        if scope["path"] == "/first":
            watch = asyncio.create_task(receive())  # As streaming responses do, to see a client leave.
            await self.release.wait()
            watch.cancel()
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    served = Serving()
    guarded: Any = partial(Connection, Guard(ConnectionLimits()))
    web = uvicorn.Server(uvicorn.Config(served.app, http=guarded, log_config=None, lifespan="off", interface="asgi3"))
    web.capture_signals = lambda: nullcontext()  # type: ignore[method-assign]
    task = asyncio.create_task(web.serve([bind("127.0.0.1", 0)]))
    while not web.started:
        await asyncio.sleep(0.005)
    served.port = web.servers[0].sockets[0].getsockname()[1]
    served.connections = web.server_state.connections
    yield served
    web.should_exit = web.force_exit = True  # A test that failed has not closed its connection.
    await task


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def upload(size: int) -> bytes:
    return b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


@pytest.mark.parametrize("size", [10, 100_000, READ_BYTES, 8 * 1024 * 1024])
async def test_a_large_body_may_follow_a_response_whose_end_the_server_has_yet_to_see(
    serving: Serving, size: int
) -> None:
    """A download and then an upload on one connection, by a client that counts the bytes of the download."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port, limit=2**20)
        writer.write(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
        writer.write(upload(size))
        (connection,) = serving.connections
        await until(lambda: connection.pipeline)
        serving.release.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(str(size))) == str(size).encode()
        writer.close()
        await writer.wait_closed()


async def test_what_such_a_body_may_hold_in_memory_is_bounded(serving: Serving) -> None:
    """Reading is paused: nothing comes in until the response ahead has ended, however much is sent."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nok")
        (connection,) = serving.connections
        writer.write(upload(64 * 1024 * 1024))
        await until(lambda: connection.pipeline and connection.flow.read_paused)
        assert len(connection.cycle.body) <= 2 * READ_BYTES < AHEAD_BYTES_MAX
        serving.release.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
