"""`GET /openapi.json` holds no request up while the document is made."""

import asyncio
import threading

import httpx
import pytest
from fastapi import FastAPI

from stoa.http import openapi


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/thing")
    async def thing() -> dict[str, str]:
        return {}

    openapi.install(app, [app.router])
    return app


async def test_the_document_is_made_once_and_not_on_the_event_loop(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    make = app.openapi

    def watched() -> dict[str, object]:
        threads.append(threading.current_thread())
        return make()

    monkeypatch.setattr(app, "openapi", watched)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(3)))
    assert [answer.json() for answer in answers] == [make()] * 3
    assert answers[0].headers["content-type"] == "application/json"
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_below_a_mount_the_document_names_it_as_its_server(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app, root_path="/router")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/openapi.json")
    assert answer.json() == {**app.openapi(), "servers": [{"url": "/router"}]}
