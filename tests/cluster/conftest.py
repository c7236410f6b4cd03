"""Nodes in processes of their own, on a database of this session's PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.nodes import Node, ToolServer
from tests.support.scripted_model import ScriptedServer

Start = Callable[..., AbstractAsyncContextManager[list[Node]]]


@pytest.fixture(scope="package")
async def upstream() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="package")
async def world() -> AsyncIterator[ToolServer]:
    async with ToolServer() as server:
        yield server


@asynccontextmanager
async def started(
    dsns: list[str], data_dir: Path, upstream: ScriptedServer, settings: dict[str, str] | None = None
) -> AsyncGenerator[list[Node]]:
    """A node for each dsn; the first makes the bootstrap key, the others find it."""
    data_dir.mkdir(exist_ok=True)
    nodes = [
        Node(f"node {place}", dsn, data_dir, upstream.url, data_dir / f"node-{place}.log", settings or {})
        for place, dsn in enumerate(dsns)
    ]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        yield nodes
    finally:
        for node in nodes:
            await node.end()


@pytest.fixture(scope="package")
async def four(cluster: Callable[[str], str], room: Path, upstream: ScriptedServer) -> AsyncIterator[list[Node]]:
    connection = await asyncpg.connect(cluster("stoa"))
    await connection.execute("CREATE DATABASE four TEMPLATE template")
    await connection.close()
    async with started([cluster("four")] * 4, room / "four", upstream) as nodes:
        yield nodes


@pytest.fixture
def start(dsn: str, tmp_path: Path, upstream: ScriptedServer) -> Start:
    """Nodes for one test: over these roads to its database, or as many as asked for."""

    @asynccontextmanager
    async def made(*dsns: str, count: int = 2, **settings: str) -> AsyncGenerator[list[Node]]:
        async with started(list(dsns) or [dsn] * count, tmp_path / "nodes", upstream, settings) as nodes:
            yield nodes

    return made
