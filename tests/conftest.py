"""One embedded PostgreSQL for the session, a fresh database per test (a copy of a migrated template), a whole server in
process."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from tests.support import run_states
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.logs import Setup
from tests.support.running import FIRST_KEY, Running, serving, shared

__all__ = ["FIRST_KEY", "Running", "serving"]
pytest_plugins = ["tests.support.parallel"]  # Gives `room` too.

# What servers in this process log goes to its own standard error, whatever stands in for it while a command is tried;
# stacks are plain, so cheap.
_LOGS = Setup(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    yield
    _LOGS.restore()


@pytest.fixture(scope="session")
async def cluster(room: Path) -> AsyncIterator[Databases]:
    """This session's PostgreSQL, with a migrated database named `template`."""
    embedded = await start_embedded(room / "cluster")
    databases = Databases(embedded.dsn)
    await databases.execute("CREATE DATABASE template")
    await migrate(databases("template"))
    connection = await asyncpg.connect(databases("template"))
    await connection.execute(run_states.guard())
    await connection.close()
    yield databases
    await databases.close()
    await embedded.stop()


@pytest.fixture
async def dsn(cluster: Databases, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    yield await cluster.copy(name)
    await cluster.drop(name)


@pytest.fixture(scope="module")
async def shared_server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    """One server for a whole module of tests that do not mind one another."""
    async with shared(cluster, room) as server:
        yield server


@pytest.fixture
def reset_server(shared_server: Running) -> Running:
    """The module's server, with the model as it was at first: for tests that mind only what the model says."""
    shared_server.model.begin_anew()
    return shared_server


@pytest.fixture
async def running(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a scripted model on a fresh database."""
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        yield server
