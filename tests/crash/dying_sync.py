"""A server that dies like `kill -9` at the n-th statement of a sync: for tests/crash/test_syncs.py, in a process of its own."""

import asyncio
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from stoa.db import Database
from stoa.db.blobs import DirectoryBlobs
from stoa.db.internal import internal
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from stoa.kernel.principal import Principal
from stoa.knowledge.bases import Deletions, Items
from stoa.knowledge.index import Index
from stoa.knowledge.sources import Sources, Suppliers, Syncing, SyncWorker, store
from stoa.knowledge.sources import worker as module
from stoa.runs import Node
from tests.crash.dying import DIED, Countdown

_SYNCING: ContextVar[bool] = ContextVar("syncing", default=False)
CLAIM = (
    "UPDATE knowledge_source_syncs SET status = 'running', node_id = $1, attempt = attempt + 1, started_at = now(), deadline = now() + interval '60 seconds'"
    " WHERE source_id = $2 AND status = 'pending' RETURNING *"
)
"""Its own sync alone: those that others left behind are the survivor's."""


def die(dsn: str, directory: str, shared: str, source_id: str, ticks: int) -> None:
    """Syncs one source, and dies at that statement of it; ends with 0 when there were not so many."""
    asyncio.run(_die(dsn, Path(directory), Path(shared), source_id, ticks))


async def _die(dsn: str, directory: Path, shared: Path, source_id: str, ticks: int) -> None:
    """The parts of a server that a sync needs, and no others: a process each that starts at once."""
    countdown = Countdown(ticks)
    countdown.running = True
    _count(countdown)
    _mark(Syncing, "run")
    _mark(SyncWorker, "_finish")
    database, ids = await Database.open(dsn, connections_max=4), RandomIds()
    node = Node(dsn, ids)
    await node.start()
    blobs, index = DirectoryBlobs(directory / "data" / "knowledge"), Index()
    deletions = Deletions(database, index, blobs, ids)
    items = Items(database, index, blobs, deletions, ids)
    origins = Suppliers(allow_private=False, directories=[shared], cache=directory / "clones")
    vault: Any = None  # The source has no secrets.
    syncing = Syncing(database, items, deletions, origins, vault)
    sources = Sources(database, vault, origins, deletions, ids, SystemClock())
    worker = SyncWorker(database, syncing, sources, ids, SystemClock(), node.id)
    async with internal(database) as tx:
        row = await tx.fetchrow("SELECT org_id, project_id FROM knowledge_sources WHERE id = $1", UUID(source_id))
        assert row is not None
    await sources.sync(Principal(row["org_id"], row["project_id"], UUID(source_id)), UUID(source_id), confirm_deletions=False)
    async with internal(database) as tx:
        claimed = await tx.fetchrow(CLAIM, node.id, UUID(source_id))
        assert claimed is not None
    await worker._carry(module._Held(store.sync_of(claimed)))
    await node.stop()
    await database.close()


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
