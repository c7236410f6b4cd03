"""A plain chat completion goes past the framework, and nobody can tell but by the clock."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import uvicorn

from stoa.http.connections import Connection, ConnectionLimits, Guard
from stoa.http.disconnects import WHEN_GONE
from tests.conftest import Running

FRAMEWORK = {"Content-Type": "application/json; charset=utf-8"}
"""Whatever is not plainly `application/json` is left to the framework."""
HELLO: Any = [{"role": "user", "content": "Hello"}]
MODEL = "stoa-extractive"


@pytest.mark.parametrize("path", ["/router/v1/chat/completions", "/openai/v1/chat/completions", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"model": MODEL, "messages": HELLO}, {}, 200),
        ({"model": MODEL, "messages": HELLO, "stream": True}, {}, 200),
        ({"model": MODEL, "messages": HELLO, "n": 2}, {}, 422),
        ({"model": MODEL, "messages": []}, {}, 422),
        ({"model": "none/such", "messages": HELLO}, {}, 404),
        ([1], {}, 422),
        ({"model": MODEL, "messages": HELLO}, {"Authorization": "Bearer nonsense"}, 401),
        ({"model": MODEL, "messages": HELLO}, {"Authorization": ""}, 401),
        ({"model": MODEL, "messages": HELLO}, {"Origin": "http://elsewhere.example"}, 200),
    ],
)
async def test_the_fast_path_answers_as_the_framework_does(
    shared_server: Running, path: str, body: object, headers: dict[str, str], status: int
) -> None:
    host = {} if path.startswith(("/router", "/openai")) else {"Host": "router.localhost"}
    answers = []
    for way in ({}, FRAMEWORK):
        answered = await shared_server.client.post(path, json=body, headers={**way, **host, **headers})
        assert answered.status_code == status, answered.text
        names = sorted(name for name in answered.headers if name != "date")
        if answered.headers["content-type"].startswith("text/event-stream"):
            said: Any = [_without_ids(line.removeprefix("data: ")) for line in answered.text.split("\n\n")]
        else:
            said = _without_ids(answered.text)
        answers.append((said, names, answered.headers["content-type"], answered.headers["vary"]))
    assert answers[0] == answers[1]


def _without_ids(text: str) -> Any:
    if not text.startswith("{"):
        return text
    return {**json.loads(text), "id": "", "created": 0}


async def test_the_fast_path_and_the_framework_count_as_one_route(shared_server: Running) -> None:
    async def counted() -> float:
        page = (await shared_server.client.get("/metrics")).text
        line = 'stoa_http_requests_total{host="router",method="POST",route="/v1/chat/completions",status="200"} '
        return float(next((row.removeprefix(line) for row in page.splitlines() if row.startswith(line)), 0))

    before = await counted()
    for way in ({}, FRAMEWORK):
        body = {"model": MODEL, "messages": HELLO}
        assert (await shared_server.client.post("/router/v1/chat/completions", json=body, headers=way)).is_success
    assert await counted() == before + 2


# --- who goes before the answer -------------------------------------------------------------------------------------
class Told:
    """An app that waits to be told that its client has gone."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.gone = asyncio.Event()
        self.answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[WHEN_GONE](self.gone.set)
        self.waiting.set()
        asked = [asyncio.create_task(event.wait()) for event in (self.gone, self.answer)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for one in asked:
            one.cancel()
        if not self.gone.is_set():
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def told() -> AsyncIterator[tuple[Told, int]]:
    app = Told()
    config = uvicorn.Config(
        app,
        http=partial(Connection, Guard(ConnectionLimits())),  # type: ignore[arg-type] # what makes one
        log_config=None,
        lifespan="off",
        port=0,
    )
    config.load()
    web = uvicorn.Server(config)
    web.lifespan = config.lifespan_class(config)
    await web.startup()
    yield app, web.servers[0].sockets[0].getsockname()[1]
    await web.shutdown()


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


async def test_a_disconnect_is_reported_at_once(told: tuple[Told, int]) -> None:
    app, port = told
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await app.waiting.wait()
        assert not app.gone.is_set()
        writer.transport.abort()
        await app.gone.wait()


async def test_garbage_after_the_request_counts_as_a_disconnect(told: tuple[Told, int]) -> None:
    app, port = told
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await app.waiting.wait()
        writer.write(b"\0\0 no HTTP\r\n\r\n")
        await app.gone.wait()
        writer.close()


async def test_no_disconnect_is_reported_after_the_answer(told: tuple[Told, int]) -> None:
    app, port = told
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await app.waiting.wait()
        app.answer.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.close()
        await writer.wait_closed()
        while await reader.read(1):
            pass
    assert not app.gone.is_set()
