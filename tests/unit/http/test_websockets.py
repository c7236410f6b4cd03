"""A WebSocket on a guarded connection: it counts until it is closed, and is opened by nothing but a plain request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from stoa.cli.listening import bind
from stoa.http import websockets
from stoa.http.connections import Connection, ConnectionLimits, Guard

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"Send a key."})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Guard, int]]:
    guard = Guard(ConnectionLimits())
    web = uvicorn.Server(
        uvicorn.Config(
            echo,
            http=partial(Connection, guard),  # type: ignore[arg-type] # a class or what makes one
            ws=websockets.protocol,  # type: ignore[arg-type] # the same
            log_config=None,
            lifespan="off",
            **websockets.OPTIONS,
        )
    )
    web.capture_signals = lambda: nullcontext()  # type: ignore[method-assign]
    task = asyncio.create_task(web.serve([bind("127.0.0.1", 0)]))
    while not web.started:
        await asyncio.sleep(0.005)
    yield guard, web.servers[0].sockets[0].getsockname()[1]
    web.should_exit = True
    await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_counts_until_it_is_closed(guarded: tuple[Guard, int]) -> None:
    guard, port = guarded
    async with asyncio.timeout(20), connect(f"ws://127.0.0.1:{port}/") as socket:
        await socket.send("Hi")
        assert await socket.recv() == "Hi"
        assert guard.total == 1
    await until(lambda: guard.total == 0)
    assert not guard.addresses


async def test_a_refused_handshake_is_no_error_of_the_server(
    guarded: tuple[Guard, int], caplog: pytest.LogCaptureFixture
) -> None:
    guard, port = guarded
    async with asyncio.timeout(20):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}/refused")
        await until(lambda: guard.total == 0)
    assert (refused.value.response.status_code, refused.value.response.body) == (401, b"Send a key.")
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    "request_bytes",
    [HEAD + b"Content-Length: 4\r\n\r\nbody", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ids=["a body", "chunks"],
)
async def test_an_upgrade_with_a_body_is_refused(guarded: tuple[Guard, int], request_bytes: bytes) -> None:
    guard, port = guarded
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()
        await until(lambda: guard.total == 0)
