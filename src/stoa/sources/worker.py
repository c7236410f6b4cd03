"""Runs syncs, requested and scheduled ones: one at a time per source, on any node with free capacity.

A sync's row is its job: leased, and fenced by node and attempt.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.db.leases import JobFailed, JobWorker, Superseded, renewed
from stoa.db.polls import Poll
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.leases import SYNC, SYNCS_MAX, ClaimLimits, Places
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Heartbeat, Supervisor
from stoa.sources import rules, store
from stoa.sources.ports import Origins
from stoa.sources.service import Sources
from stoa.sources.store import SQL
from stoa.sources.syncing import Canceled, Syncing
from stoa.sources.types import SourceError, Sync, SyncStatus

SWEEP_SECONDS: Final = 30.0
_log = structlog.get_logger("stoa.sources")


class SyncWorker:
    """Claims syncs by itself after `start`; `stop` releases them. The `JobKind` of syncs."""

    def __init__(
        self,
        database: Database,
        syncing: Syncing,
        sources: Sources,
        origins: Origins,
        ids: Ids,
        clock: Clock,
        node_id: UUID,
        *,
        per_project_max: int = SYNCS_MAX - 1,
    ) -> None:
        self._database = database
        self._syncing = syncing
        self._sources = sources
        self._origins = origins
        self._ids = ids
        self._clock = clock
        self._node_id = node_id
        self._supervisor = Supervisor()
        self._worker = JobWorker[Sync]("sync", self, SYNC, Places(SYNCS_MAX, per_project_max), "sources.claim")
        self._woken: dict[UUID, asyncio.Event] = {}
        """For each running sync, an event that makes it renew at once: it may have been canceled."""
        ends = [(status.value, "") for status in (SyncStatus.COMPLETED, SyncStatus.CANCELED)]
        self._ended = Counter(
            "stoa_syncs_ended",
            "Syncs of sources that this node has ended; `code` is the error's where they failed.",
            ("status", "code"),
            ends,
        )

    def metrics(self) -> Sequence[Metric]:
        return [self._ended]

    @property
    def heartbeat(self) -> Heartbeat:
        return self._worker.heartbeat

    async def start(self) -> None:
        self._worker.start()
        self._supervisor.keep_every(SWEEP_SECONDS, self.sweep, "sources.sweep")

    async def stop(self) -> None:
        await self._supervisor.stop()
        await self._worker.stop()

    def on_notification(self, payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_sources`: a sync is pending, or the named sync or source has changed."""
        for sync in self._worker.running:
            if payload in (str(sync.id), str(sync.source_id)) and (woken := self._woken.get(sync.id)):
                woken.set()
        self.wake()

    def wake(self) -> None:
        self._worker.wake()

    async def sweep(self) -> None:
        """Finishes deletions that a dead node left unfinished, and removes this node's copies of deleted sources."""
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.deleting_sources)
        for row in rows:
            principal = Principal(row["org_id"], row["project_id"], row["created_by"] or row["id"])
            await self._sources.finish_deleting(principal, row["knowledgebase_id"], row["id"])
        if kept := await self._origins.kept():
            async with internal_statement(self._database) as tx:
                known = {row["id"] for row in await tx.fetch(SQL.source_ids, list(kept))}
            for source_id in set(kept) - known:
                await self._origins.forget(source_id)

    # --- a kind of leased job ---------------------------------------------------------------------------------------
    async def claim(self, wanted: ClaimLimits, held: Sequence[Sync], /) -> Sequence[Sync]:
        await self._schedule()
        own = [sync.id for sync in held]
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(store.CLAIM, self._node_id, *wanted.arguments(), own, SYNC.seconds)
        return [store.sync_of(row) for row in rows]

    async def _schedule(self) -> None:
        """Inserts a pending sync for each source that is due. A source with a sync under way skips this time."""
        now = self._clock.now()
        async with internal(self._database) as tx:
            for row in await tx.fetch(SQL.due_sources, now):
                org_id, source_id = row["org_id"], row["id"]
                new = (org_id, row["project_id"], self._ids.new(), source_id, "schedule", False, None)
                await tx.fetchrow(SQL.insert_sync, *new)
                next_at = rules.next_sync(row["schedule"], row["timezone"], now)
                await tx.execute(SQL.set_next_sync, org_id, source_id, next_at)

    async def work(self, sync: Sync, /) -> None:
        woken = self._woken[sync.id] = asyncio.Event()
        try:
            run = self._syncing.run(sync)
            warnings = await renewed(run, lambda: self._renew(sync), SYNC.renew_seconds, woken=woken)
            await self._finish(sync, SyncStatus.COMPLETED, None, warnings)
        except Canceled:
            await self._finish(sync, SyncStatus.CANCELED, None)
        except SourceError as error:
            raise JobFailed(error.code, error.message, retryable=error.retryable) from error
        except (Superseded, Unavailable):
            raise
        except Exception:
            with suppress(Canceled):
                await self._renew(sync)  # Raises Superseded where the source was deleted meanwhile; that is no bug.
            raise
        finally:
            if self._woken.get(sync.id) is woken:
                del self._woken[sync.id]

    async def _renew(self, sync: Sync) -> None:
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.beat, *store.fence(sync), SYNC.seconds, 0)
        if row is None:
            raise Superseded
        if row["cancel_requested"]:
            raise Canceled

    async def postpone(self, sync: Sync, failed: JobFailed, /) -> None:
        async with internal_statement(self._database) as tx:
            seconds = rules.backoff_seconds(sync.attempt)
            if await tx.fetchval(SQL.postpone, *store.fence(sync), seconds, failed.as_json()) is None:
                raise Superseded

    async def fail(self, sync: Sync, failed: JobFailed, /) -> None:
        await self._finish(sync, SyncStatus.FAILED, failed.as_json())

    async def give_back(self) -> None:
        async with internal(self._database) as tx:
            await tx.execute(SQL.give_back, self._node_id)

    async def _finish(self, sync: Sync, status: SyncStatus, error: dict[str, str] | None, warnings: Any = ()) -> None:
        async with internal(self._database) as tx:
            if await tx.fetchval(SQL.finish, *store.fence(sync), status.value, error, list(warnings)) is None:
                raise Superseded
            await tx.execute(SQL.prune_syncs, sync.org_id, sync.source_id, rules.SYNCS_KEPT)
        self._ended.add(status.value, (error or {}).get("code", ""))
        _log.info(
            "sync ended",
            sync_id=str(sync.id),
            source_id=str(sync.source_id),
            status=status.value,
            code=(error or {}).get("code"),
        )


def polls() -> Sequence[Poll]:
    return [
        Poll(
            "stoa_syncs_waiting",
            "Syncs of sources that have not ended, of all nodes together.",
            SQL.unended_syncs,
            ("status",),
        )
    ]
