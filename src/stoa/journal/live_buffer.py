"""The newest events of live runs, in memory: readers on this node get new commits without a query.

A reader that is further behind than the buffer reads the table. Each buffer is bounded.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import UUID

from stoa.journal.types import Record

BUFFER_BYTES_MAX: Final = 64 * 1024
"""Per live run: several seconds of a fast model, so only a reader far behind reads the table; 64 MB for 1,000 runs."""


class Subscription:
    """One reader of one run. `wait` returns once `wake` was called since the last `wait`; several calls count as one.

    A parked reader's task is not woken: the event loop calls its `flush`, and it stays parked as long as that returns
    true.
    """

    __slots__ = ("_flush", "_loop", "_waiter", "_woken", "closed", "run_id")

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._woken = False
        self._flush: Callable[[], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._flush is None:
            self._woken = True
            self._resume()
        elif not self._woken:
            self._woken = True
            self._loop.call_soon(self._flush_now)

    def close(self) -> None:
        """The reader's client has disconnected, or this node is shutting down."""
        self.closed = True
        self.wake()

    async def wait(self) -> None:
        if not self._woken:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False

    async def park(self, flush: Callable[[], bool]) -> None:
        """Returns after a `wake` for which `flush` returned false or raised."""
        if self._woken:
            self._woken = False
            return
        self._flush = flush
        try:
            await self.wait()
        finally:
            self._flush, self._woken = None, False

    def _flush_now(self) -> None:
        if self._flush is None:  # The reader has disconnected meanwhile.
            return
        self._woken, stays = False, False
        try:
            stays = self._flush()
        finally:
            if not stays:
                self._resume()

    def _resume(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _RunBuffer:
    """The newest records of one live run, contiguous, ending with the last one committed."""

    __slots__ = ("bytes", "frames", "frames_after", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.bytes = 0
        self.frames: bytes | None = None
        """The bytes of the records after `frames_after`: made once for all readers that are up to date."""
        self.frames_after = 0

    def extend(self, records: Sequence[Record]) -> None:
        """Adds committed records. After a gap (another node wrote in between) the buffer starts again from them."""
        if self.records and records[0].sequence != self.records[-1].sequence + 1:
            self.records, self.bytes = [], 0
        self.frames, self.frames_after = None, records[0].sequence - 1
        self.records.extend(records)
        self.bytes += sum([len(record.payload) for record in records])
        if self.bytes > BUFFER_BYTES_MAX:
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

    def records_after(self, sequence: int) -> Sequence[Record] | None:
        skip = sequence - self.records[0].sequence + 1
        return None if skip < 0 else self.records[skip:]


class Frames(NamedTuple):
    """The frames of records (maybe none), the sequence of the last one, and whether it is the terminal event."""

    frames: bytes
    last_sequence: int
    terminal: bool


def frames_of(records: Sequence[Record]) -> bytes:
    return b"".join([record.frame() for record in records])


class LiveBuffer:
    def __init__(self) -> None:
        self._buffers: dict[UUID, _RunBuffer] = {}
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        self._by_hex: dict[str, UUID] = {}
        """The runs that have subscriptions, as notifications name them."""
        self.closed = False

    # --- for the writer --------------------------------------------------------------------------------------------
    def publish(self, run_id: UUID, records: Sequence[Record]) -> None:
        """Committed records, in order. The run is live here from its first call until `forget`."""
        if records:
            buffer = self._buffers.get(run_id)
            if buffer is None:
                buffer = self._buffers[run_id] = _RunBuffer()
            buffer.extend(records)
            self.wake(run_id)

    def forget(self, run_id: UUID) -> None:
        """The run is no longer written here: its readers continue with the table.

        The buffer is removed one loop iteration later, so that readers that were just woken still get the last events
        from memory.
        """
        asyncio.get_running_loop().call_soon(self._drop, run_id, self._buffers.get(run_id))

    def _drop(self, run_id: UUID, buffer: _RunBuffer | None) -> None:
        if buffer is not None and self._buffers.get(run_id) is buffer:
            del self._buffers[run_id]
        self.wake(run_id)

    def wake(self, run_id: UUID) -> None:
        for subscription in self._subscriptions.get(run_id, ()):
            subscription.wake()

    def wake_all(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.wake()

    def close(self) -> None:
        """At shutdown: every stream ends without a terminal event, so its client resumes elsewhere."""
        self.closed = True
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    def live(self, run_id: UUID) -> bool:
        """Whether this node writes the run and has not committed its end, so that the table has no end either."""
        buffer = self._buffers.get(run_id)
        return buffer is not None and bool(buffer.records) and not buffer.records[-1].terminal

    # --- for readers -----------------------------------------------------------------------------------------------
    @contextmanager
    def subscribe(self, run_id: UUID) -> Generator[Subscription]:
        subscription = Subscription(run_id)
        subscription.closed = self.closed
        if run_id not in self._subscriptions:
            self._subscriptions[run_id], self._by_hex[run_id.hex] = set(), run_id
        self._subscriptions[run_id].add(subscription)
        try:
            yield subscription
        finally:
            subscriptions = self._subscriptions[run_id]
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._subscriptions[run_id], self._by_hex[run_id.hex]

    def after(self, run_id: UUID, sequence: int) -> Frames | None:
        """The events after `sequence`, maybe none yet; None if the buffer does not reach back that far."""
        buffer = self._buffers.get(run_id)
        return None if buffer is None or not buffer.records else buffer.after(sequence)

    def records_after(self, run_id: UUID, sequence: int) -> Sequence[Record] | None:
        """The same as records, for a reader that renders them its own way."""
        buffer = self._buffers.get(run_id)
        return None if buffer is None or not buffer.records else buffer.records_after(sequence)

    def on_notification(self, run_ids: Iterable[str]) -> None:
        """Another node has written events of these runs. Ids stay hex digits: a node is notified of every run of all
        other nodes but follows few of them, and parsing a UUID costs ten times the comparison."""
        by_hex = self._by_hex
        for run_id in run_ids:
            if run_id in by_hex:
                self.wake(by_hex[run_id])
