"""Live ends of journals, in memory: what was just committed goes to the readers of this node without a query.

A tail is a convenience, never a truth: a reader that it does not cover reads the table. Its size is bounded per run.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import UUID

from stoa.journal.types import Record

TAIL_BYTES_MAX: Final = 64 * 1024
"""Per live run: several seconds of a fast model, so only a reader that is far behind goes to the table; 64 MB among a thousand runs."""


class Subscription:
    """One reader's ear. `wait` returns after any nudge since the last one; nudges that meet are one.

    A reader that parks is not woken: its `flush` is called on the loop, and it stays parked for as long as that gives true.
    """

    __slots__ = ("_flush", "_loop", "_nudged", "_waiter", "closed", "run_id")

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._nudged = False
        self._flush: Callable[[], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def nudge(self) -> None:
        if self._flush is None:
            self._nudged = True
            self._wake()
        elif not self._nudged:
            self._nudged = True
            self._loop.call_soon(self._flush_now)

    def close(self) -> None:
        """The reader's client is gone, or this node is leaving."""
        self.closed = True
        self.nudge()

    async def wait(self) -> None:
        if not self._nudged:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._nudged = False

    async def park(self, flush: Callable[[], bool]) -> None:
        """Returns after a nudge for which `flush` gave false, or failed."""
        if self._nudged:
            self._nudged = False
            return
        self._flush = flush
        try:
            await self.wait()
        finally:
            self._flush, self._nudged = None, False

    def _flush_now(self) -> None:
        if self._flush is None:  # It has left meanwhile.
            return
        self._nudged, stays = False, False
        try:
            stays = self._flush()
        finally:
            if not stays:
                self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _RunBuffer:
    """The newest records of one live run, contiguous, ending with the last one committed."""

    __slots__ = ("bytes", "frames", "frames_after", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.bytes = 0
        self.frames: bytes | None = None
        """The records after `frames_after` as they go out: made once, for all readers that are up to date."""
        self.frames_after = 0

    def extend(self, records: Sequence[Record]) -> None:
        """A run that went elsewhere and came back begins its tail anew: what was written in between is in the table alone."""
        if self.records and records[0].sequence != self.records[-1].sequence + 1:
            self.records, self.bytes = [], 0
        self.frames, self.frames_after = None, records[0].sequence - 1
        self.records.extend(records)
        self.bytes += sum([len(record.payload) for record in records])
        if self.bytes > TAIL_BYTES_MAX:
            self.records = self.records[len(self.records) // 2 + 1 :] or self.records[-1:]
            self.bytes = sum([len(record.payload) for record in self.records])

    def after(self, sequence: int) -> "Frames | None":
        records = self.records
        skip, last = sequence - records[0].sequence + 1, records[-1]
        if skip < 0:
            return None
        if sequence != self.frames_after:
            return Frames(frames_of(records[skip:]), last.sequence, last.terminal)
        if self.frames is None:
            self.frames = frames_of(records[skip:])
        return Frames(self.frames, last.sequence, last.terminal)


class Frames(NamedTuple):
    """Records as they go out, maybe none; where a reader stands after them, and whether that is the end."""

    frames: bytes
    last_sequence: int
    terminal: bool


def frames_of(records: Sequence[Record]) -> bytes:
    return b"".join([record.frame() for record in records])


class LiveBuffer:
    def __init__(self) -> None:
        self._tails: dict[UUID, _RunBuffer] = {}
        self._ears: dict[UUID, set[Subscription]] = {}
        self.closed = False

    # --- the writer's side ------------------------------------------------------------------------------------------
    def publish(self, run_id: UUID, records: Sequence[Record]) -> None:
        """Committed records, in order. The run is live here from its first call until `forget`."""
        if records:
            self._tails.setdefault(run_id, _RunBuffer()).extend(records)
            self.nudge(run_id)

    def forget(self, run_id: UUID) -> None:
        """The run is no longer written here: its readers go on with the table.

        After those that were just nudged: most runs leave with their last words, and whoever is up to date has them from here.
        """
        asyncio.get_running_loop().call_soon(self._drop, run_id, self._tails.get(run_id))

    def _drop(self, run_id: UUID, tail: _RunBuffer | None) -> None:
        if tail is not None and self._tails.get(run_id) is tail:
            del self._tails[run_id]
        self.nudge(run_id)

    def nudge(self, run_id: UUID) -> None:
        for ear in self._ears.get(run_id, ()):
            ear.nudge()

    def nudge_all(self) -> None:
        for ears in self._ears.values():
            for ear in ears:
                ear.nudge()

    def close(self) -> None:
        """This node is leaving: every stream ends in a way that makes clients resume."""
        self.closed = True
        for ears in self._ears.values():
            for ear in ears:
                ear.close()

    def live(self, run_id: UUID) -> bool:
        """Whether the run is being written here and has not ended: then the table has no news of its end either."""
        tail = self._tails.get(run_id)
        return tail is not None and bool(tail.records) and not tail.records[-1].terminal

    # --- the readers' side ------------------------------------------------------------------------------------------
    @contextmanager
    def subscribe(self, run_id: UUID) -> Generator[Subscription]:
        ear = Subscription(run_id)
        ear.closed = self.closed
        self._ears.setdefault(run_id, set()).add(ear)
        try:
            yield ear
        finally:
            ears = self._ears[run_id]
            ears.discard(ear)
            if not ears:
                del self._ears[run_id]

    def after(self, run_id: UUID, sequence: int) -> Frames | None:
        """What comes after `sequence`, maybe nothing yet; None where memory does not reach back that far."""
        tail = self._tails.get(run_id)
        return None if tail is None or not tail.records else tail.after(sequence)

    def heard(self, run_ids: Iterable[UUID]) -> None:
        """Another node wrote to these."""
        for run_id in run_ids:
            self.nudge(run_id)
