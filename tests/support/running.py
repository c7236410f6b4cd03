"""A whole server in this process, on a real socket and a real database, with a scripted model."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import uvicorn
from pydantic import SecretStr

from stoa.app import Server, open_server
from stoa.cli.listening import bind
from stoa.http import websockets
from stoa.settings import Settings
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.listening import close_listening

FIRST_KEY = "stoa_acc_" + "k" * 64
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""`verify` of a client that speaks plain HTTP to loopback: httpx reads 150 authorities for each client otherwise."""
GRACE_SECONDS_MAX = 2.0


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
        connections_max=settings.pop("connections_max", 6),  # A backend's start is a quarter of a server's.
        **settings,
    )
    async with open_server(chosen, dsn, clock=clock, ids=ids, builtin=model, toolbox=toolbox) as server:
        listening = bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with _Web.serving(server.asgi, listening):
            try:
                async with httpx.AsyncClient(
                    base_url=url, headers={"Authorization": f"Bearer {FIRST_KEY}"}, timeout=30, verify=NO_AUTHORITIES
                ) as client:
                    yield Running(server, url, model, client, dsn, data_dir)
            finally:
                await server.drain()


@asynccontextmanager
async def shared(
    cluster: Databases, room: Path, model: ScriptedModel | None = None, **settings: Any
) -> AsyncGenerator[Running]:
    """One server for a module of tests, on a database of its own. `Running.model.begin_anew` stands between two tests
    that script the model. A server costs 0.3 s of CPU, its database included: as much as fifty requests."""
    name = f"shared_{uuid4().hex}"  # A worker that is handed other tests in between sets this up again.
    async with serving(await cluster.copy(name), room / name, model or ScriptedModel(), **settings) as server:
        yield server


class _Web(uvicorn.Server):
    """uvicorn without its main loop, which looks for a signal to leave every tenth of a second."""

    @classmethod
    @asynccontextmanager
    async def serving(cls, asgi: Any, listening: socket.socket) -> AsyncGenerator[None]:
        ways: dict[str, Any] = {"ws": websockets.protocol, **websockets.OPTIONS}
        web = cls(uvicorn.Config(asgi, log_config=None, proxy_headers=False, lifespan="off", **ways))
        web.config.load()
        web.lifespan = web.config.lifespan_class(web.config)
        await web.startup([listening])
        await web.on_tick(0)  # Sets the Date of every answer.
        try:
            yield
        finally:
            await web.shutdown([listening])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            await close_listening(server)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS_MAX):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0.001)
        for task in self.server_state.tasks:
            task.cancel()
        for listening in sockets or ():
            listening.close()
