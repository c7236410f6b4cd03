"""One embedded PostgreSQL for the session, a fresh database per test (a copy of a migrated template), a whole server in
process."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import structlog

from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from tests.support import run_states
from tests.support.doubles import ScriptedModel
from tests.support.running import FIRST_KEY, Running, serving

__all__ = ["FIRST_KEY", "Running", "serving"]
pytest_plugins = ["tests.support.parallel"]  # Gives `room` too.

# What servers in this process log goes to its own standard error, whatever stands in for it while a command is tried;
# stacks are plain, so cheap.
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
