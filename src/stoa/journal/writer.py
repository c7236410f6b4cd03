"""The journal writer: one task per node, one statement per tick, for all runs of the node.

A tick starts as soon as the previous one is done and events are waiting; with many runs it waits a little, so that
several deltas of one run become one event. Events are published to readers after the commit of their tick, never
before.
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from stoa.db import FAILURES, CommitWatch, Connection, Moved, Notifier, Tx, connect, load
from stoa.journal.live_buffer import LiveBuffer
from stoa.journal.run_writer import Batch, Digest, RunWriter
from stoa.journal.types import Fenced, Head, JournalKey
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.ids import event_id_tail
from stoa.kernel.metrics import FAST, Counter, Gauge, Histogram, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor

SQL: Final = load("stoa.journal")

PACE_FREE_RUNS: Final = 10
PACE_SECONDS_PER_RUN: Final = 250e-6
PACE_SECONDS_MAX: Final = 0.05
"""How long a run collects its model's deltas: not at all with few runs, 50 ms with several hundred (design section
7)."""
TICKS_PER_PACE: Final = 3
"""Ticks come faster than runs gather, so that the two waits do not add up."""
CHANNEL: Final = "stoa_journal"
"""Its payloads are run ids, 32 hex digits each, of which this node has stored events."""
RECONNECT_SECONDS: Final = 0.25
REFUSALS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""Errors of the values themselves: repeating the statement cannot help."""
_log = structlog.get_logger("stoa.journal")


class JournalWriter:
    def __init__(self, dsn: str, live: LiveBuffer, clock: Clock, notifier: Notifier | None = None) -> None:
        """Without a notifier other nodes find what is stored by polling."""
        self._dsn = dsn
        self._notifier = notifier
        self._live = live
        self._clock = clock
        self._supervisor = Supervisor()
        self._dirty: dict[RunWriter, None] = {}
        self._writers: set[RunWriter] = set()
        self._awake = asyncio.Event()
        self._connection: Connection | None = None
        self._replicated = CommitWatch()
        self.heartbeat = Heartbeat("journal.writer", monotonic_seconds=clock.monotonic)
        self.others: Callable[[], bool] = lambda: False
        """Whether other nodes live: without any, nobody is notified."""
        self._stored = Counter("stoa_journal_events", "Events that this node has committed.")
        self._ticks = Histogram(
            "stoa_journal_tick_seconds", "Ticks: one statement that stores what all runs of this node have said.", FAST
        )
        self._failures = Counter(
            "stoa_journal_failures", "Ticks that the database did not take; what they held is kept and tried again."
        )

    def metrics(self) -> Sequence[Metric]:
        writers = Gauge("stoa_journal_writing", "Journals that this node writes.", lambda: len(self._writers))
        return [self._stored, self._ticks, self._failures, writers]

    async def start(self) -> None:
        await self._reconnect()
        self._supervisor.keep(self._forever, "journal.writer", self.heartbeat)

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._connection is not None:
            self._connection.terminate()

    def open(self, key: JournalKey, head: Head, digest: Digest | None = None) -> RunWriter:
        """A writer at a journal's head. `digest` must include all payloads up to there; omitted for a new journal."""
        assert digest is not None or head.last_sequence == 0, "a journal with events needs their digest"
        writer = RunWriter(
            key, head.epoch, head.last_sequence, digest or hashlib.sha256(), self, event_id_tail(key.run_id)
        )
        self._writers.add(writer)
        return writer

    def release(self, writer: RunWriter) -> None:
        """The run has ended, or another node executes it."""
        self._writers.discard(writer)
        self._dirty.pop(writer, None)
        self._live.forget(writer.key.run_id)

    def reconnect(self, moved: Moved | None) -> None:
        """Drops the connection unless it leads to the current primary. The outcome of a statement in progress is
        checked over a new one."""
        if self._connection is not None and (moved is None or moved.leaves(self._connection)):
            self._connection.abort()

    @property
    def pace_seconds(self) -> float:
        """How long runs may collect deltas under the present load, so that each row and each write has several."""
        return min(max(0, len(self._writers) - PACE_FREE_RUNS) * PACE_SECONDS_PER_RUN, PACE_SECONDS_MAX)

    def wake(self, writer: RunWriter) -> None:
        self._dirty[writer] = None
        self._awake.set()

    def rest(self, writer: RunWriter) -> None:
        """The writer has no events for the next tick."""
        self._dirty.pop(writer, None)

    # --- in the caller's transaction ------------------------------------------------------------------------------
    async def store(self, tx: Tx, batch: Batch) -> None:
        """Stores a batch in the caller's transaction, together with its related rows. Raises Fenced.

        The caller flushes the writer before it makes the batch, and calls `published` after its commit.
        """
        writer = batch.writer
        if not await tx.fetchval(
            SQL.append_to,
            writer.key.org_id,
            writer.key.run_id,
            writer.epoch,
            batch.base,
            batch.seal,
            *batch.columns(),
        ):
            writer.settle(stored=False)
            raise Fenced

    def published(self, batch: Batch, *, begun: bool = False) -> None:
        """After the commit: for the readers of this node and of the others. Of a run that has just `begun` nobody knows
        elsewhere."""
        run_id = batch.writer.key.run_id
        self._stored.add(by=len(batch.records))
        self._live.publish(run_id, batch.records)
        if not begun and self._notifier is not None and self.others():
            self._notifier.send_ids(CHANNEL, (run_id.hex,))

    def sent(self, server_pid: int) -> bool:
        """Whether a notification is this node's own: PostgreSQL gives it to the sender too."""
        return self._notifier is not None and server_pid == self._notifier.server_pid

    # --- the tick ---------------------------------------------------------------------------------------------------
    async def _forever(self) -> None:
        loop = asyncio.get_running_loop()
        begun = 0.0
        while True:
            await self._awake.wait()
            self.heartbeat.begin()
            # At least one loop iteration: events that arrive together are written together, and a run that ends now
            # stores its last events with its end.
            await asyncio.sleep(max(0.0, begun + self.pace_seconds / TICKS_PER_PACE - loop.time()))
            begun = loop.time()
            self._awake.clear()
            dirty, self._dirty = self._dirty, {}
            await self._tick([writer for writer in dirty if writer.pending and not (writer.fenced or writer.broken)])
            self.heartbeat.done()

    async def _tick(self, writers: Sequence[RunWriter]) -> None:
        if not writers:
            return
        timestamp = rfc3339(self._clock.now())
        batches: list[Batch] = []
        for writer in _newest(writers):
            batch = writer.for_tick(timestamp)
            if batch.records:
                batches.append(batch)
            else:  # Its first event was not JSON. The other runs continue.
                writer.settle(stored=True)
        if not batches:
            return
        begun = self._clock.monotonic()
        try:
            refused = await self._commit(batches)
        except BaseException:  # A bug, or a shutdown: no run may wait for a write that will not happen.
            for batch in batches:
                batch.writer.settle(stored=False)
            raise
        self._ticks.observe(self._clock.monotonic() - begun)
        for batch in batches:
            if batch.writer in refused:
                batch.writer.settle(stored=False)
            else:
                self.published(batch)
                batch.writer.settle(stored=True)

    async def _commit(self, batches: Sequence[Batch]) -> Collection[RunWriter]:
        """Returns once the batches are durable, except those of the returned writers, which are not stored.

        If the connection drops during the commit, journals.last_sequence says which batches were stored.
        """
        unclear = False
        waiting = batches
        while waiting:
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._reconnect()
                assert self._connection is not None
                if unclear:
                    landed = await self._landed(waiting)
                    waiting = [batch for batch in waiting if batch.writer not in landed]
                    unclear = False
                    continue
                refused = await self._connection.fetchval(SQL.append, *self._arguments(waiting))
                self._replicated.check()
                return {waiting[number - 1].writer for number in refused} if refused else ()
            except REFUSALS as error:
                _log.error("journal refused events", error=str(error), runs=len(waiting))
                return await self._commit_one_by_one(waiting) if len(waiting) > 1 else {waiting[0].writer}
            # The database is unavailable or full, or this tick was in a deadlock with another node's: keep the events
            # and
            # retry.
            except FAILURES as error:
                reason = str(error) or type(error).__name__
                _log.warning("journal cannot be written", error=reason, waiting_runs=len(waiting))
                unclear = True
                self._failures.add()
                if self._connection is not None:
                    self._connection.terminate()
                await asyncio.sleep(RECONNECT_SECONDS)
        return ()

    async def _commit_one_by_one(self, batches: Sequence[Batch]) -> Collection[RunWriter]:
        """After PostgreSQL refused a statement because of its values: only the run with these values fails."""
        refused: set[RunWriter] = set()
        for batch in batches:
            refused.update(await self._commit([batch]))
        return refused

    async def _landed(self, batches: Sequence[Batch]) -> set[RunWriter]:
        """Which of these batches were committed before the connection was lost.

        A row that is visible on the primary may be missing on its synchronous standby. The row locks make the commit of
        this transaction wait for the standby, and so for all earlier commits.
        """
        assert self._connection is not None
        landed: set[RunWriter] = set()
        async with self._connection.transaction():
            for batch in sorted(batches, key=lambda batch: batch.writer.key.run_id):
                key = batch.writer.key
                head = await self._connection.fetchrow(SQL.head_in_doubt, key.org_id, key.run_id)
                if (
                    head
                    and head["epoch"] == batch.writer.epoch
                    and head["last_sequence"] == batch.base + len(batch.records)
                ):
                    landed.add(batch.writer)
        self._replicated.check()
        return landed

    def _arguments(self, batches: Sequence[Batch]) -> tuple[object, ...]:
        keys = [batch.writer.key for batch in batches]
        records = [record for batch in batches for record in batch.records]
        return (
            [key.org_id for key in keys],
            [key.run_id for key in keys],
            [batch.writer.epoch for batch in batches],
            [batch.base for batch in batches],
            [len(batch.records) for batch in batches],
            [batch.seal for batch in batches],
            [number for number, batch in enumerate(batches, 1) for _ in batch.records],
            [record[0] for record in records],
            [record[1] for record in records],
            [record[2] for record in records],
        )

    async def _reconnect(self) -> None:
        self._connection = await connect(self._dsn)
        self._replicated = CommitWatch()
        self._connection.add_log_listener(self._replicated.on_message)
        # Journals are found by their key. A plan made while they were few, or all sealed, would scan all of them in
        # each tick.
        await self._connection.execute("SET enable_seqscan = off")


def _newest(writers: Sequence[RunWriter]) -> Sequence[RunWriter]:
    """The newest writer per run. If this node itself has fenced off a run (a cancel concurrent with a claim), the older
    epoch is over.

    The statement of a tick finds a run's events by the run's id, so it must not have those of two writers.
    """
    newest: dict[UUID, RunWriter] = {writer.key.run_id: writer for writer in writers}
    if len(newest) == len(writers):
        return writers
    newest.clear()
    for writer in sorted(writers, key=lambda writer: writer.epoch):
        older = newest.get(writer.key.run_id)
        newest[writer.key.run_id] = writer
        if older is not None:
            older.settle(stored=False)
    return list(newest.values())
