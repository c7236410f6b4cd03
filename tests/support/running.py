"""A whole server in this process, on a real socket and a real database, with a scripted model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from stoa.app import Server, open_server
from stoa.cli.serve import bind
from stoa.settings import Settings
from tests.support.doubles import ScriptedModel

FIRST_KEY = "stoa_acc_" + "k" * 64


@dataclass
class Running:
    """A server in this process: `client` speaks to it over a real socket with the first key."""

    server: Server
    url: str
    model: ScriptedModel
    client: httpx.AsyncClient
    dsn: str
    data_dir: Path

    async def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = await self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def model_id(self) -> str:
        return str((await self.call("GET", "/v1/router/models"))["data"][0]["id"])

    async def conversation(self, **fields: Any) -> str:
        body = {"model_id": await self.model_id(), **fields}
        return str((await self.call("POST", "/v1/conversations", 201, json=body))["data"]["id"])

    async def ask(self, conversation_id: str, text: str = "Hi", **fields: Any) -> Any:
        """A whole run, waited for."""
        body = {"content": text, "stream": False, **fields}
        return (await self.call("POST", f"/v3/conversations/{conversation_id}/messages", json=body))["data"]

    async def events(self, run_id: str) -> list[dict[str, Any]]:
        """Every event of a run, in order."""
        return list((await self.call("GET", f"/v1/runs/{run_id}/events?page_size=500"))["data"])

    async def status(self, run_id: str, *wanted: str) -> Any:
        """The run, once its status is one of these."""
        async with asyncio.timeout(15):
            while True:
                run = (await self.call("GET", f"/v1/runs/{run_id}"))["data"]
                if run["status"] in wanted:
                    return run
                await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(
    dsn: str,
    data_dir: Path,
    model: ScriptedModel,
    *,
    clock: Any = None,
    ids: Any = None,
    toolbox: Any = None,
    **settings: Any,
) -> AsyncGenerator[Running]:
    chosen = Settings(
        data_dir=data_dir,
        bootstrap_key=SecretStr(FIRST_KEY),
        drain_seconds_max=settings.pop("drain_seconds_max", 0.2),
        **settings,
    )
    async with open_server(chosen, dsn, clock=clock, ids=ids, builtin=model, toolbox=toolbox) as server:
        web = uvicorn.Server(
            uvicorn.Config(
                server.asgi, port=0, log_config=None, proxy_headers=False, lifespan="off", timeout_graceful_shutdown=2
            )
        )
        web.capture_signals = _no_signals  # type: ignore[method-assign]
        task = asyncio.create_task(web.serve([bind("127.0.0.1", 0)]))
        while not web.started:
            await asyncio.sleep(0.005)
        url = f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}"
        try:
            async with httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {FIRST_KEY}"}, timeout=30
            ) as client:
                yield Running(server, url, model, client, dsn, data_dir)
        finally:
            await server.drain()
            web.should_exit = True
            await task


def _no_signals() -> Any:
    return nullcontext()
