"""Nodes in processes of their own, on a database of this session's PostgreSQL."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.databases import Databases
from tests.support.nodes import Node, Start, ToolServer, started
from tests.support.scripted_model import ScriptedServer


@pytest.fixture(scope="package")
async def upstream() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="package")
async def world() -> AsyncIterator[ToolServer]:
    async with ToolServer() as server:
        yield server


@pytest.fixture(scope="package")
async def four(cluster: Databases, room: Path, upstream: ScriptedServer) -> AsyncIterator[list[Node]]:
    name = f"four_{uuid4().hex}"  # A worker that is handed other tests in between sets this up again.
    async with started([await cluster.copy(name)] * 4, room / name, upstream.url) as nodes:
        yield nodes


@pytest.fixture
def start(dsn: str, tmp_path: Path, upstream: ScriptedServer) -> Start:
    """Nodes for one test: over these roads to its database, or as many as asked for."""

    @asynccontextmanager
    async def made(*dsns: str, count: int = 2, **settings: str) -> AsyncGenerator[list[Node]]:
        async with started(list(dsns) or [dsn] * count, tmp_path / "nodes", upstream.url, settings) as nodes:
            yield nodes

    return made
