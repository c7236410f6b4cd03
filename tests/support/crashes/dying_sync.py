"""A server that dies like `kill -9` at the n-th statement of a sync: for tests/crash/test_syncs.py, in a process of its
own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from stoa.app.adapters import SourceItems
from stoa.bases import Deletions, Items
from stoa.db import Database
from stoa.db.blobs import DirectoryBlobs
from stoa.db.internal import internal
from stoa.db.node import Node
from stoa.index import Index
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from stoa.kernel.principal import Principal
from stoa.outbound import Outbound
from stoa.sources import SourceFactory, Sources, Syncing, SyncWorker, store
from tests.support.crashes.dying import DIED, Countdown

_SYNCING: ContextVar[bool] = ContextVar("syncing", default=False)
CLAIM = (
    "UPDATE knowledge_source_syncs SET status = 'running', node_id = $1, attempt = attempt + 1, started_at = now(), "
    "deadline = now() + interval '60 seconds'"
    " WHERE source_id = $2 AND status = 'pending' RETURNING *"
)
"""Claims its own sync only: those of dead servers belong to the survivor."""


def die(dsn: str, directory: str, shared: str, source_id: str, ticks: int) -> None:
    """Syncs one source, and dies at that statement; exits with 0 if there were fewer."""
    asyncio.run(_die(dsn, Path(directory), Path(shared), source_id, ticks))


@dataclass
class Parts:
    """The parts of a server that a sync needs."""

    database: Database
    node: Node
    sources: Sources
    worker: SyncWorker


@asynccontextmanager
async def parts(dsn: str, data_dir: Path, shared: Path) -> AsyncGenerator[Parts]:
    database, ids = await Database.open(dsn, connections_max=4), RandomIds()
    node = Node(dsn, ids, SystemClock())
    await node.start()
    blobs, index = DirectoryBlobs(data_dir / "knowledge"), Index()
    deletions = Deletions(database, index, blobs, ids)
    items = Items(database, index, blobs, deletions, ids)
    origins = SourceFactory(outbound=Outbound(), directories=[shared], cache=data_dir / "sources")
    vault: Any = None  # The sources have no secrets.
    sources = Sources(database, vault, origins, deletions, ids, SystemClock())
    syncing = Syncing(database, SourceItems(items), deletions, origins, vault)
    yield Parts(database, node, sources, SyncWorker(database, syncing, sources, origins, ids, SystemClock(), node.id))
    await node.stop()
    await database.close()


async def _die(dsn: str, directory: Path, shared: Path, source_id: str, ticks: int) -> None:
    countdown = Countdown(ticks)
    countdown.running = True
    _count(countdown)
    _mark(Syncing, "run")
    _mark(SyncWorker, "_finish")
    async with parts(dsn, directory / "data", shared) as server:
        async with internal(server.database) as tx:
            row = await tx.fetchrow("SELECT org_id, project_id FROM knowledge_sources WHERE id = $1", UUID(source_id))
            assert row is not None
        await server.sources.sync(
            Principal(row["org_id"], row["project_id"], UUID(source_id)), UUID(source_id), confirm_deletions=False
        )
        async with internal(server.database) as tx:
            claimed = await tx.fetchrow(CLAIM, server.node.id, UUID(source_id))
            assert claimed is not None
        await server.worker.work(store.sync_of(claimed))


def _mark(kind: Any, name: str) -> None:
    plain = getattr(kind, name)

    async def marked(*args: Any, **options: Any) -> Any:
        _SYNCING.set(True)
        return await plain(*args, **options)

    setattr(kind, name, marked)


def _count(countdown: Countdown) -> None:
    for name in ("execute", "_execute"):
        plain = getattr(asyncpg.Connection, name)

        async def counted(self: asyncpg.Connection, query: str, *args: Any, _plain: Any = plain, **options: Any) -> Any:
            if _SYNCING.get():
                countdown.tick()
            return await _plain(self, query, *args, **options)

        setattr(asyncpg.Connection, name, counted)


__all__ = ["DIED", "die"]
