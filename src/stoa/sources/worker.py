"""Carries syncs: those that people ask for and those whose time has come, one at a time per source, on whichever node is free.

A sync's row is its job: claimed with SKIP LOCKED, kept alive by a beat, fenced by node and attempt.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.db.polls import Poll
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor, Wakeup, spread
from stoa.sources import rules, store
from stoa.sources.ports import Origins
from stoa.sources.service import Sources
from stoa.sources.store import SQL
from stoa.sources.syncing import Canceled, Superseded, Syncing
from stoa.sources.types import SourceError, Sync, SyncStatus

SYNCS_MAX: Final = 4
"""At once on a node."""
POLL_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 30.0
_log = structlog.get_logger("stoa.sources")


@dataclass(slots=True)
class _Held:
    sync: Sync
    nudged: asyncio.Event = field(default_factory=asyncio.Event)


class SyncWorker:
    """`start`, then it claims by itself; `stop` gives back what it holds."""

    def __init__(
        self,
        database: Database,
        syncing: Syncing,
        sources: Sources,
        origins: Origins,
        ids: Ids,
        clock: Clock,
        node_id: UUID,
    ) -> None:
        self._database = database
        self._syncing = syncing
        self._sources = sources
        self._origins = origins
        self._ids = ids
        self._clock = clock
        self._node_id = node_id
        self._supervisor = Supervisor()
        self._nudge = Wakeup(POLL_SECONDS)
        self._held: dict[UUID, _Held] = {}
        ends = [(status.value, "") for status in (SyncStatus.COMPLETED, SyncStatus.CANCELED)]
        self._ended = Counter(
            "stoa_syncs_ended",
            "Syncs of sources that this node has ended; `code` is the error's where they failed.",
            ("status", "code"),
            ends,
        )

    def metrics(self) -> Sequence[Metric]:
        return [self._ended]

    async def start(self) -> None:
        self._supervisor.keep(self._claim_forever, "sources.claim")
        self._supervisor.keep(self._sweep_forever, "sources.sweep")

    async def stop(self) -> None:
        await self._supervisor.stop()
        with suppress(Unavailable):  # Then another node finds this one gone.
            async with internal(self._database) as tx:
                await tx.execute(SQL.give_back, self._node_id)

    def on_notification(self, payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_sources`: a sync waits, or the sync or source named is to be looked at."""
        for held in self._held.values():
            if payload in (str(held.sync.id), str(held.sync.source_id)):
                held.nudged.set()
        self._nudge.give()

    def wake(self) -> None:
        self._nudge.give()

    async def _claim_forever(self) -> None:
        while True:
            with suppress(Unavailable):
                await self._schedule()
                await self._claim()
            await self._nudge.wait()

    async def _schedule(self) -> None:
        """Sources whose time has come wait from now on. One that is being synced already lets this time pass."""
        now = self._clock.now()
        async with internal(self._database) as tx:
            for row in await tx.fetch(SQL.due_sources, now):
                await tx.fetchrow(
                    SQL.insert_sync,
                    row["org_id"],
                    row["project_id"],
                    self._ids.new(),
                    row["id"],
                    "schedule",
                    False,
                    None,
                )
                await tx.execute(
                    SQL.set_next_sync, row["org_id"], row["id"], rules.next_sync(row["schedule"], row["timezone"], now)
                )

    async def _claim(self) -> None:
        room = SYNCS_MAX - len(self._held)
        if room <= 0:
            return
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.claim, self._node_id, room, rules.SILENT_SECONDS_MAX)
        for row in rows:
            held = _Held(store.sync_of(row))
            self._held[held.sync.id] = held
            self._supervisor.once(self._hold(held), f"sync {held.sync.id}")

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(spread(SWEEP_SECONDS))
            with suppress(Unavailable):
                await self.sweep()

    async def sweep(self) -> None:
        """Deletions of sources that their node did not finish, and what this node keeps for sources that were deleted on another."""
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

    # --- one sync ---------------------------------------------------------------------------------------------------
    async def _hold(self, held: _Held) -> None:
        sync = held.sync
        try:
            await self._carry(held)
        except Superseded:
            _log.info("sync is not ours any more", sync_id=str(sync.id))
        except Unavailable:
            _log.warning(
                "the database went away during a sync; it goes on when its lease has run out", sync_id=str(sync.id)
            )
        finally:
            del self._held[sync.id]
            self._nudge.give()

    async def _carry(self, held: _Held) -> None:
        sync = held.sync
        if sync.attempt > rules.ATTEMPTS_MAX:
            error = {
                "code": "attempts_exhausted",
                "message": f"The server failed {rules.ATTEMPTS_MAX} times during this sync; the next one goes on from there.",
            }
            await self._finish(sync, SyncStatus.FAILED, error)
            return
        try:
            warnings = await self._attended(held)
            await self._finish(sync, SyncStatus.COMPLETED, None, warnings)
        except Canceled:
            await self._finish(sync, SyncStatus.CANCELED, None)
        except SourceError as error:
            await self._fail_or_wait(sync, error.code, error.message, retryable=error.retryable)
        except (Superseded, Unavailable):
            raise
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            with suppress(Canceled):
                await self._beat(sync)  # A source that was deleted under our hands is no bug: Superseded.
            _log.exception("bug", sync_id=str(sync.id))
            await self._fail_or_wait(
                sync,
                "internal_error",
                "Something went wrong on the server. It was logged under this sync's id.",
                retryable=True,
            )

    async def _attended(self, held: _Held) -> Any:
        """The sync at work, with a beat beside it that also hears of its end."""
        work = asyncio.create_task(self._syncing.run(held.sync), name=f"syncing {held.sync.id}")
        try:
            while True:
                nudge = asyncio.create_task(held.nudged.wait())
                await asyncio.wait({work, nudge}, timeout=rules.BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                nudge.cancel()
                if work.done():
                    return work.result()
                held.nudged.clear()
                await self._beat(held.sync)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _beat(self, sync: Sync) -> None:
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.beat, *store.fence(sync), rules.SILENT_SECONDS_MAX, 0)
        if row is None:
            raise Superseded
        if row["cancel_requested"]:
            raise Canceled

    async def _fail_or_wait(self, sync: Sync, code: str, message: str, *, retryable: bool) -> None:
        error = {"code": code, "message": message}
        if not retryable or sync.attempt >= rules.ATTEMPTS_MAX:
            await self._finish(sync, SyncStatus.FAILED, error)
            return
        async with internal_statement(self._database) as tx:
            await tx.fetchval(SQL.postpone, *store.fence(sync), rules.backoff_seconds(sync.attempt), error)

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
