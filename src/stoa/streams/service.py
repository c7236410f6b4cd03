"""Follows a journal: replays what is stored, then goes on live until the terminal event. Does not know that runs exist."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from stoa.http.sse import HEARTBEAT
from stoa.journal import Head, Journal, Record, Subscription
from stoa.kernel.clock import Clock
from stoa.kernel.errors import NotFound, Unavailable
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor

HEARTBEAT_SECONDS: Final = 15.0
"""Of silence, after which a comment shows that the stream lives (contract section 4.2)."""
POLL_SECONDS: Final = 1.0
"""Behind every nudge stands a slow look at the table."""


class Streams:
    """Long-lived: `start` before use, `stop` ends every stream of this node so that its clients resume elsewhere."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._followers: set[Follower] = set()
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._tick_forever, "streams.tick")

    async def stop(self) -> None:
        self._journal.tails.close()
        await self._supervisor.stop()

    def interrupt(self) -> None:
        """Ends every open stream so that its client resumes: here later, or on a node that can reach the database."""
        for follower in tuple(self._followers):
            follower.close()

    async def head(self, principal: Principal, run_id: UUID) -> Head:
        """Raises NotFound when the journal is outside the principal's scope."""
        head = await self._journal.head(principal, run_id)
        if head is None:
            raise NotFound(f"There is no run {run_id}.")
        return head

    def follow(self, principal: Principal, run_id: UUID, after: int = 0, head: Head | None = None) -> "Follower":
        """Frames of every event after `after`. The caller has checked that the principal may see the run."""
        ended = head is not None and head.sealed and after >= head.last_sequence
        return Follower(self._journal, self._clock, self._followers, principal, run_id, after, ended=ended)

    async def page(self, principal: Principal, run_id: UUID, request: PageRequest) -> Page[Record]:
        """Events in sequence order. Sequences have no gaps, so a page is a range."""
        head = await self.head(principal, run_id)
        records: Sequence[Record] = ()
        if request.offset < head.last_sequence:
            records = await self._journal.read(principal, run_id, request.offset, request.page_size)
        return Page(records, request.page, request.page_size, head.last_sequence)

    async def _tick_forever(self) -> None:
        """One timer for all streams: wakes those that are due for a look or a heartbeat."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for follower in tuple(self._followers):
                follower.tick()


class Follower:
    """One reader: an async iterator of frames. Holds nothing but its cursor while it waits."""

    def __init__(
        self, journal: Journal, clock: Clock, followers: "set[Follower]", principal: Principal, run_id: UUID, after: int, *, ended: bool
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._followers = followers
        self._principal = principal
        self._run_id = run_id
        self._cursor = after
        self._ended = ended
        self._spoke_at = clock.monotonic()
        self._ear: Subscription | None = None

    def close(self) -> None:
        self._ended = True
        if self._ear:
            self._ear.nudge()

    def tick(self) -> None:
        if self._ear:
            self._ear.nudge()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._ended:
            return
        with self._journal.tails.subscribe(self._run_id) as ear:
            self._ear = ear
            self._followers.add(self)
            try:
                while not (self._ended or ear.closed):
                    records = await self._next()
                    if records:
                        self._cursor, self._spoke_at = records[-1].sequence, self._clock.monotonic()
                        yield b"".join([record.frame() for record in records])
                        if records[-1].terminal:
                            return
                    elif not self._ended:
                        if self._clock.monotonic() - self._spoke_at >= HEARTBEAT_SECONDS:
                            self._spoke_at = self._clock.monotonic()
                            yield HEARTBEAT
                        await ear.wait()
            finally:
                self._followers.discard(self)

    async def _next(self) -> Sequence[Record]:
        """From memory where the run lives here, else from the table; a journal that was deleted meanwhile ends the stream."""
        records = self._journal.tails.recent(self._run_id, self._cursor)
        if records is None:
            try:
                records = await self._journal.read(self._principal, self._run_id, self._cursor)
                if not records and await self._journal.head(self._principal, self._run_id) is None:
                    self._ended = True
            except Unavailable:  # The database is away: the stream ends in good order, and its client resumes.
                self._ended, records = True, ()
        return records
