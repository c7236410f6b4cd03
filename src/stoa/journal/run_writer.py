"""Writes one run's journal for one epoch: collects, numbers and encodes the run's events."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from stoa.events import Event, TextDelta, Unencodable, encode
from stoa.journal.types import Fenced, JournalKey, Record
from stoa.kernel.errors import Unavailable

PENDING_CHARACTERS_MAX: Final = 256 * 1024
"""Above this a run waits for the journal before it reads more from its model."""
RETRY_SECONDS: Final = 0.25


class Digest(Protocol):
    """A running hash, as hashlib gives them."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> "Digest": ...


class Ticks(Protocol):
    """The ticks, which store the events of all writers of this node."""

    def wake(self, writer: "RunWriter") -> None:
        """The writer has events for the next tick."""
        ...

    def rest(self, writer: "RunWriter") -> None:
        """The writer has no more events for the next tick."""
        ...


@dataclass(slots=True)
class Batch:
    """Events of one run, numbered and encoded, to be stored."""

    writer: "RunWriter"
    base: int
    records: list[Record]
    seal: bool = False

    def extend(self, more: "Batch") -> None:
        """Adds the next batch of the same writer."""
        self.records += more.records
        self.seal = more.seal

    def columns(self) -> tuple[list[int], list[int], list[bytes]]:
        """Sequences, types and payloads."""
        records = self.records
        return (
            [record.sequence for record in records],
            [record.type for record in records],
            [record.payload for record in records],
        )


@dataclass(slots=True, eq=False)
class RunWriter:
    """Not shared between tasks. It becomes unusable in two ways: `fenced` (its epoch is over), and `broken` (it got an
    event that is not JSON; then only the run's end may still be written).
    """

    key: JournalKey
    epoch: int
    last_sequence: int
    digest: Digest
    """SHA-256 over every payload so far, each followed by a newline."""
    ticks: Ticks
    id_tail: bytes
    pending: list[Event | TextDelta] = field(default_factory=list[Event | TextDelta])
    pending_characters: int = 0
    in_flight: bool = False
    fenced: bool = False
    broken: Unencodable | None = None
    on_stopped: Callable[[], None] | None = None
    """Called once when the writer is fenced off or broken, to stop the driver of the run."""
    _waiters: list[asyncio.Future[None]] = field(default_factory=list["asyncio.Future[None]"])

    def write(self, event: Event | TextDelta) -> None:
        """Adds an event to the next tick. Neighbouring deltas of one iteration are joined."""
        if self.fenced:
            raise Fenced
        pending = self.pending
        if isinstance(event, TextDelta):
            self.pending_characters += len(event.delta)
            last = pending[-1] if pending else None
            if isinstance(last, TextDelta) and last.type is event.type and last.iteration == event.iteration:
                pending[-1] = TextDelta(event.type, last.delta + event.delta, event.iteration)
                return
        pending.append(event)
        self.ticks.wake(self)

    @property
    def ready(self) -> bool:
        """Whether `write` may be called without waiting first."""
        return not self.fenced and self.broken is None and self.pending_characters <= PENDING_CHARACTERS_MAX

    @property
    def crowded(self) -> bool:
        return self.pending_characters > PENDING_CHARACTERS_MAX

    async def flush(self) -> None:
        """Returns once everything written so far is committed. Raises Fenced or Unencodable when it never will be."""
        while (self.pending or self.in_flight) and not self.fenced and self.broken is None:
            await self._settled()
        if self.fenced:
            raise Fenced
        if self.broken is not None:
            raise self.broken

    async def take(self) -> Sequence[Event | TextDelta]:
        """Removes and returns the events that no tick has stored; the caller stores them with the run's end. Empty if
        broken. Raises Fenced.
        """
        while self.in_flight and not self.fenced:
            await self._settled()
        if self.fenced:
            raise Fenced
        self.ticks.rest(self)
        taken = [] if self.broken is not None else self.pending
        self.pending, self.pending_characters = [], 0
        return taken

    def batch(self, events: Sequence[Event | TextDelta], timestamp: str, *, seal: bool = False) -> Batch:
        """Numbers and encodes events. The batch must be stored before the next one is made, or `rewind` be called.

        Raises Unencodable; then nothing has changed.
        """
        base, id_tail, stamp = self.last_sequence, self.id_tail, timestamp.encode()
        records: list[Record] = []
        try:
            for sequence, event in enumerate(events, base + 1):
                records.append(Record(sequence, int(event.type), encode(event, id_tail, sequence, stamp)))
        except (TypeError, ValueError, RecursionError) as error:
            raise Unencodable(events[len(records)].type, str(error), before=len(records)) from error
        if len(records) == 1:  # The usual case.
            self.digest.update(records[0].payload + b"\n")
        elif records:
            self.digest.update(b"\n".join([record.payload for record in records]) + b"\n")
        self.last_sequence = base + len(records)
        return Batch(self, base, records, seal)

    def for_tick(self, timestamp: str) -> Batch:
        """Everything pending, as a batch that is in flight until `settle`. Never raises: if a run wrote an
        event that is not JSON, the batch ends before it, and only that run is stopped.
        """
        pending, self.pending, self.pending_characters = self.pending, [], 0
        try:
            batch = self.batch(pending, timestamp)
        except Unencodable as error:
            self.broken = error
            batch = self.batch(pending[: error.before], timestamp)
        self.in_flight = bool(batch.records)
        if self.broken is not None and self.on_stopped is not None:
            self.on_stopped()
        return batch

    def mark(self) -> tuple[int, Digest]:
        """The writer's position, for `rewind` when the transaction that a batch was made for fails."""
        return self.last_sequence, self.digest.copy()

    def rewind(self, mark: tuple[int, Digest]) -> None:
        self.last_sequence, self.digest = mark

    async def until_stored(self, store_once: Callable[[], Awaitable[None]]) -> None:
        """Repeats a transaction with batches of this writer until it is committed: an outage ends no run."""
        while True:
            mark = self.mark()
            try:
                await store_once()
                return
            except Unavailable:
                self.rewind(mark)
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                self.rewind(mark)
                raise

    def settle(self, *, stored: bool) -> None:
        """Ends the tick for this writer. If the batch was not stored, the writer is fenced off."""
        self.in_flight = False
        if not stored and not self.fenced:
            self.fenced = True
            self.pending.clear()
            if self.on_stopped:
                self.on_stopped()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _settled(self) -> "asyncio.Future[None]":
        """Done at the end of the tick under way, or of the next one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter
