"""One embedded PostgreSQL for the session, a fresh database per test (a copy of a migrated template), a whole server in process."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
import uvicorn
from pydantic import SecretStr

from stoa.app import Server, open_server
from stoa.cli.serve import bind
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.settings import Settings
from tests.support import run_states
from tests.support.doubles import ScriptedModel

FIRST_KEY = "stoa_acc_" + "k" * 64

# What servers in this process log goes to its own standard error, whatever stands in for it while a command is tried; stacks are plain, so cheap.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
)


@pytest.fixture(scope="session")
def room() -> Iterator[Path]:
    """A directory that any user may enter (the database does not run as root), in memory where the machine has that."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="stoa-test-", dir=memory if memory.is_dir() else None))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
async def cluster(room: Path) -> AsyncIterator[Callable[[str], str]]:
    """Gives the dsn of a database of this session's PostgreSQL, by name."""
    embedded = await start_embedded(room / "cluster")
    head, _, tail = embedded.dsn.partition("/stoa?")

    def dsn(name: str) -> str:
        return f"{head}/{name}?{tail}"

    connection = await asyncpg.connect(dsn("stoa"))
    await connection.execute("CREATE DATABASE template")
    await connection.close()
    await migrate(dsn("template"))
    connection = await asyncpg.connect(dsn("template"))
    await connection.execute(run_states.guard())
    await connection.close()
    yield dsn
    await embedded.stop()


@pytest.fixture
async def dsn(cluster: Callable[[str], str], request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    connection = await asyncpg.connect(cluster("stoa"))
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
        yield cluster(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


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
            uvicorn.Config(server.asgi, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
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


@pytest.fixture(scope="module")
async def shared_server(
    cluster: Callable[[str], str], request: pytest.FixtureRequest, room: Path
) -> AsyncIterator[Running]:
    """One server for a whole module of tests that do not mind one another."""
    name = f"shared_{abs(hash(request.node.nodeid)):x}"
    connection = await asyncpg.connect(cluster("stoa"))
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
    await connection.close()
    async with serving(cluster(name), room / name, ScriptedModel()) as server:
        yield server


@pytest.fixture
async def running(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a scripted model on a fresh database."""
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        yield server
