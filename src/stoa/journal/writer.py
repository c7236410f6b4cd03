"""The journal writer: one task per node, one statement per tick, for all the runs that the node carries.

A tick begins as soon as the one before is done and something waits; with many runs it waits a little, so that the
deltas of one run that meet become one event. What a tick stored is published to readers after its commit, never before.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

import asyncpg
import structlog

from stoa.db import FAILURES, Tx, connect, load
from stoa.events import Event, TextDelta, encode
from stoa.journal.live_buffer import LiveBuffer
from stoa.journal.types import Fenced, Head, JournalKey, Record
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import Unavailable
from stoa.kernel.ids import event_id_tail
from stoa.kernel.metrics import FAST, Counter, Gauge, Histogram, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor

SQL: Final = load("stoa.journal")

PACE_FREE_RUNS: Final = 10
PACE_SECONDS_PER_RUN: Final = 250e-6
PACE_SECONDS_MAX: Final = 0.05
"""How long a run gathers its model's deltas: nothing among a few, 50 ms among several hundred (design section 7)."""
TICKS_PER_PACE: Final = 3
"""Ticks come faster than runs gather, so that the two waits do not add up."""
PENDING_CHARACTERS_MAX: Final = 256 * 1024
"""Past this a run waits for the journal before it takes more from its model."""
NOTIFY_BYTES_MAX: Final = 7_900
"""PostgreSQL refuses a payload of 8,000 bytes."""
RECONNECT_SECONDS: Final = 0.25
_log = structlog.get_logger("stoa.journal")


class Digest(Protocol):
    """A running hash, as hashlib gives them."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> "Digest": ...


@dataclass(slots=True)
class Batch:
    """Events of one run, numbered and encoded, on their way into the table."""

    pen: "RunWriter"
    base: int
    records: list[Record]
    seal: bool = False

    def extend(self, more: "Batch") -> None:
        """What the same pen batched next."""
        self.records += more.records
        self.seal = more.seal

    def columns(self) -> tuple[list[int], list[int], list[bytes]]:
        """Sequences, kinds and payloads."""
        records = self.records
        return (
            [record.sequence for record in records],
            [record.kind for record in records],
            [record.payload for record in records],
        )


@dataclass(slots=True, eq=False)
class RunWriter:
    """The right to write one run's journal, for one epoch. Not shared between tasks."""

    key: JournalKey
    epoch: int
    last_sequence: int
    digest: "Digest"
    """SHA-256 over every payload so far, each followed by a newline."""
    writer: "JournalWriter"
    id_tail: bytes
    pending: list[Event | TextDelta] = field(default_factory=list[Event | TextDelta])
    pending_characters: int = 0
    in_flight: bool = False
    fenced: bool = False
    on_fenced: Callable[[], None] | None = None
    _waiters: list[asyncio.Future[None]] = field(default_factory=list["asyncio.Future[None]"])

    def write(self, event: Event | TextDelta) -> None:
        """Takes an event for the next tick. Deltas that meet here are joined."""
        if self.fenced:
            raise Fenced
        pending = self.pending
        if isinstance(event, TextDelta):
            self.pending_characters += len(event.delta)
            last = pending[-1] if pending else None
            if isinstance(last, TextDelta) and last.kind is event.kind and last.iteration == event.iteration:
                pending[-1] = TextDelta(event.kind, last.delta + event.delta, event.iteration)
                return
        pending.append(event)
        self.writer.wake(self)

    @property
    def crowded(self) -> bool:
        return self.pending_characters > PENDING_CHARACTERS_MAX

    async def flush(self) -> None:
        """Returns once everything written so far is committed. Raises Fenced when it never will be."""
        while (self.pending or self.in_flight) and not self.fenced:
            await self._settled()
        if self.fenced:
            raise Fenced

    async def take(self) -> Sequence[Event | TextDelta]:
        """What was written and is in no tick: the caller stores it, beside what it ends with. Raises Fenced."""
        while self.in_flight and not self.fenced:
            await self._settled()
        if self.fenced:
            raise Fenced
        self.writer.rest(self)
        taken, self.pending, self.pending_characters = self.pending, [], 0
        return taken

    def _settled(self) -> "asyncio.Future[None]":
        """Done at the end of the tick under way, or of the next one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def batch(self, events: Sequence[Event | TextDelta], timestamp: str, *, seal: bool = False) -> Batch:
        """Numbers and encodes. What is batched must be stored next, or the pen be thrown away."""
        base, tail, stamp, update = self.last_sequence, self.id_tail, timestamp.encode(), self.digest.update
        records: list[Record] = []
        for sequence, event in enumerate(events, base + 1):
            payload = encode(event, tail, sequence, stamp)
            update(payload + b"\n")
            records.append(Record(sequence, int(event.kind), payload))
        self.last_sequence = base + len(records)
        return Batch(self, base, records, seal)

    def mark(self) -> tuple[int, "Digest"]:
        """Where the pen stands, to `rewind` to when the transaction that a batch was made for fails."""
        return self.last_sequence, self.digest.copy()

    def rewind(self, mark: tuple[int, "Digest"]) -> None:
        self.last_sequence, self.digest = mark

    async def until_stored(self, store_once: Callable[[], Awaitable[None]]) -> None:
        """A transaction that stores batches of this pen, tried until the database takes it: an outage ends no run. Raises what it raises."""
        while True:
            mark = self.mark()
            try:
                await store_once()
                return
            except Unavailable:
                self.rewind(mark)
                await asyncio.sleep(RECONNECT_SECONDS)
            except BaseException:
                self.rewind(mark)
                raise

    def settle(self, *, stored: bool) -> None:
        self.in_flight = False
        if not stored and not self.fenced:
            self.fenced = True
            self.pending.clear()
            if self.on_fenced:
                self.on_fenced()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class JournalWriter:
    def __init__(self, dsn: str, tails: LiveBuffer, clock: Clock) -> None:
        self._dsn = dsn
        self._tails = tails
        self._clock = clock
        self._supervisor = Supervisor()
        self._dirty: dict[RunWriter, None] = {}
        self._pens: set[RunWriter] = set()
        self._awake = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self.heartbeat = Heartbeat("journal.writer", monotonic_seconds=clock.monotonic)
        self.server_pid = 0
        """Of the connection that writes: notifications with this origin are our own."""
        self.others: Callable[[], bool] = lambda: False
        """Whether other nodes live: without any, nobody needs to be told."""
        self._stored = Counter("stoa_journal_events", "Events that this node has committed.")
        self._ticks = Histogram(
            "stoa_journal_tick_seconds", "Ticks: one statement that stores what all runs of this node have said.", FAST
        )
        self._failures = Counter(
            "stoa_journal_failures", "Ticks that the database did not take; what they held is kept and tried again."
        )

    def metrics(self) -> Sequence[Metric]:
        pens = Gauge("stoa_journal_writing", "Journals that this node writes.", lambda: len(self._pens))
        return [self._stored, self._ticks, self._failures, pens]

    async def start(self) -> None:
        await self._reconnect()
        self._supervisor.keep(self._forever, "journal.writer", self.heartbeat)

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._connection is not None:
            self._connection.terminate()

    def pen(self, key: JournalKey, head: Head, digest: "Digest | None" = None) -> RunWriter:
        """A pen at a journal's head. `digest` must hold all payloads up to there; left out for a new journal."""
        assert digest is not None or head.last_sequence == 0, "a journal with events needs their digest"
        pen = RunWriter(
            key, head.epoch, head.last_sequence, digest or hashlib.sha256(), self, event_id_tail(key.run_id)
        )
        self._pens.add(pen)
        return pen

    def release(self, pen: RunWriter) -> None:
        """The run is over, or carried elsewhere."""
        self._pens.discard(pen)
        self._dirty.pop(pen, None)
        self._tails.forget(pen.key.run_id)

    def reconnect(self) -> None:
        """Gives the connection up: it may lead nowhere. What was under way on it is settled over a new one."""
        if self._connection is not None:
            self._connection.terminate()

    @property
    def pace_seconds(self) -> float:
        """How long producers may gather under the present load: each wake-up, row and write then carries several deltas."""
        return min(max(0, len(self._pens) - PACE_FREE_RUNS) * PACE_SECONDS_PER_RUN, PACE_SECONDS_MAX)

    def wake(self, pen: RunWriter) -> None:
        self._dirty[pen] = None
        self._awake.set()

    def rest(self, pen: RunWriter) -> None:
        """Nothing of this pen's is for the next tick."""
        self._dirty.pop(pen, None)

    # --- inside somebody's transaction ------------------------------------------------------------------------------
    async def store(self, tx: Tx, batch: Batch) -> None:
        """Stores a batch in the caller's transaction, beside the facts it belongs to. Raises Fenced.

        The caller flushes the pen before it makes the batch, and calls `published` after its commit.
        """
        pen = batch.pen
        if not await tx.fetchval(
            SQL.append_to,
            pen.key.org_id,
            pen.key.run_id,
            pen.epoch,
            batch.base,
            batch.seal,
            *batch.columns(),
            self.told(pen),
        ):
            pen.settle(stored=False)
            raise Fenced

    def published(self, batch: Batch) -> None:
        self._stored.add(by=len(batch.records))
        self._tails.publish(batch.pen.key.run_id, batch.records)

    # --- the tick ---------------------------------------------------------------------------------------------------
    async def _forever(self) -> None:
        loop = asyncio.get_running_loop()
        begun = 0.0
        while True:
            await self._awake.wait()
            self.heartbeat.begin()
            # At least one turn of the loop: what arrived together is written together, and a run that ends now takes its last words along.
            await asyncio.sleep(max(0.0, begun + self.pace_seconds / TICKS_PER_PACE - loop.time()))
            begun = loop.time()
            self._awake.clear()
            dirty, self._dirty = self._dirty, {}
            await self._tick([pen for pen in dirty if pen.pending and not pen.fenced])
            self.heartbeat.done()

    async def _tick(self, pens: Sequence[RunWriter]) -> None:
        if not pens:
            return
        timestamp = rfc3339(self._clock.now())
        batches: list[Batch] = []
        for pen in _newest(pens):
            batches.append(pen.batch(pen.pending, timestamp))
            pen.pending, pen.pending_characters, pen.in_flight = [], 0, True
        stored: set[object] = set()
        begun = self._clock.monotonic()
        try:
            stored = await self._commit(batches)
        except BaseException:  # A bug, or the end of this node: no run may wait for what nobody will write.
            for batch in batches:
                batch.pen.settle(stored=False)
            raise
        self._ticks.observe(self._clock.monotonic() - begun)
        for batch in batches:
            pen = batch.pen
            if pen.key.run_id in stored:
                self.published(batch)
                pen.settle(stored=True)
            else:
                pen.settle(stored=False)

    async def _commit(self, batches: Sequence[Batch]) -> set[object]:
        """Gives the runs whose batches are durable. A connection lost in the middle leaves a doubt, which the heads settle."""
        doubt = False
        waiting = list(batches)
        stored: set[object] = set()
        while waiting:
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._reconnect()
                assert self._connection is not None
                if doubt:
                    landed = await self._landed(waiting)
                    stored |= landed
                    waiting = [batch for batch in waiting if batch.pen.key.run_id not in landed]
                    doubt = False
                    continue
                rows = await self._connection.fetch(SQL.append, *self._arguments(waiting))
                return stored | {row["run_id"] for row in rows}
            except (
                FAILURES
            ) as error:  # Away, full, or in a deadlock with another node's tick: what waits is kept and tried again.
                _log.warning("journal cannot be written", error=str(error), waiting_runs=len(waiting))
                doubt = True
                self._failures.add()
                if self._connection is not None:
                    self._connection.terminate()
                await asyncio.sleep(RECONNECT_SECONDS)
        return stored

    async def _landed(self, batches: Sequence[Batch]) -> set[object]:
        """Which of these batches were committed before the connection was lost."""
        assert self._connection is not None
        landed: set[object] = set()
        for batch in batches:
            head = await self._connection.fetchrow(SQL.head, batch.pen.key.org_id, batch.pen.key.run_id)
            if head and head["epoch"] == batch.pen.epoch and head["last_sequence"] == batch.base + len(batch.records):
                landed.add(batch.pen.key.run_id)
        return landed

    def _arguments(self, batches: Sequence[Batch]) -> tuple[object, ...]:
        keys = [batch.pen.key for batch in batches]
        records = [record for batch in batches for record in batch.records]
        return (
            [key.org_id for key in keys],
            [key.run_id for key in keys],
            [batch.pen.epoch for batch in batches],
            [batch.base for batch in batches],
            [len(batch.records) for batch in batches],
            [batch.seal for batch in batches],
            [number for number, batch in enumerate(batches, 1) for _ in batch.records],
            [record[0] for record in records],
            [record[1] for record in records],
            [record[2] for record in records],
            self.told(*(batch.pen for batch in batches)),
        )

    def told(self, *pens: RunWriter) -> list[str]:
        """What other nodes are told of a write, when there are any."""
        return nudges([pen.key.run_id.hex for pen in pens]) if self.others() else []

    async def _reconnect(self) -> None:
        self._connection = await connect(self._dsn)
        # Journals are found by their key. A plan made while they were few, or all sealed, would read each of them at each tick.
        await self._connection.execute("SET enable_seqscan = off")
        self.server_pid = self._connection.get_server_pid()


def _newest(pens: Sequence[RunWriter]) -> Sequence[RunWriter]:
    """One pen per run: where this node itself has fenced a run off (a cancel meets a claim), the older pen's right is over.

    The statement of a tick tells a run's events by the run alone, so those of two pens must not meet in it.
    """
    newest: dict[UUID, RunWriter] = {}
    for pen in sorted(pens, key=lambda pen: pen.epoch):
        older = newest.get(pen.key.run_id)
        newest[pen.key.run_id] = pen
        if older is not None:
            older.settle(stored=False)
    return list(newest.values())


def nudges(run_ids: Sequence[str]) -> list[str]:
    """Run ids (32 hex digits each) as notification payloads."""
    size = NOTIFY_BYTES_MAX // 32
    return ["".join(run_ids[start : start + size]) for start in range(0, len(run_ids), size)]
