"""Follows a journal: replays what is stored, then follows it live until the terminal event. Knows no runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol
from uuid import UUID

from stoa.http.sse import HEARTBEAT, Write
from stoa.journal import READ_EVENTS_MAX, Frames, Head, Journal, Record, Subscription, frames_of
from stoa.kernel.clock import Clock
from stoa.kernel.errors import NotFound, RateLimited, Unavailable
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor

HEARTBEAT_SECONDS: Final = 15.0
"""Seconds without an event after which a comment is sent as a heartbeat (contract section 4.2)."""
FIRST_PAGE_EVENTS: Final = 100
"""The first page of a replay: small, so that it starts soon; full pages follow."""
CREDENTIAL_SECONDS: Final = 10.0
"""How often the access keys of open streams are checked."""
RETRY_AFTER_SECONDS: Final = 5
POLL_SECONDS: Final = 1.0
"""A notification may be lost, so the table is polled as well."""


REVOKED: Final = b": this stream has ended: its access key was revoked or has expired\n\n"


class Rendering(Protocol):
    """How a reader gets a run's events if not as their own frames. One per reader, so it may keep state.

    An empty `frames` is not sent: those events have no form in this rendering.
    """

    @property
    def heartbeat(self) -> bytes:
        """The heartbeat of a silent connection; empty if something else keeps it open."""
        ...

    def revoked(self) -> bytes:
        """The last message when the reader's access key was revoked or has expired."""
        ...

    def frames(self, records: Sequence[Record], /) -> bytes: ...


class _OwnFrames:
    """Events as their own frames."""

    heartbeat = HEARTBEAT

    def revoked(self) -> bytes:
        return REVOKED

    def frames(self, records: Sequence[Record], /) -> bytes:
        return frames_of(records)


_OWN_FRAMES: Final = _OwnFrames()
Translate = Callable[[Sequence[Record]], bytes]
"""The frames of another dialect for the next events of a run. It is called with each event once, in order."""


class _Translated:
    """Events in another dialect, and the dialect's end of a stream."""

    heartbeat = HEARTBEAT

    def __init__(self, translate: Translate, end: bytes) -> None:
        self._translate = translate
        self._end = end

    def revoked(self) -> bytes:
        return REVOKED

    def frames(self, records: Sequence[Record], /) -> bytes:
        made = self._translate(records)
        return made + self._end if records[-1].terminal else made


LivingKeys = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]
"""Which of these access keys are still valid."""


class Streams:
    """Long-lived: `start` before use, `stop` ends every stream of this node so that its clients resume elsewhere."""

    def __init__(self, journal: Journal, clock: Clock, living_keys: LivingKeys, per_key_max: int) -> None:
        self._journal = journal
        self._clock = clock
        self._living_keys = living_keys
        self._per_key_max = per_key_max
        self._followers: set[Follower] = set()
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._tick_forever, "streams.tick")
        self._supervisor.keep(self._check_keys_forever, "streams.keys")

    def admit(self, principal: Principal) -> None:
        """Called before a stream is opened, and before its run is started. Raises RateLimited when the key has too many
        streams open on this node.

        The streams of a key are counted at each call: usually they are few, and for a backend's key the sum takes a
        millisecond.
        """
        if len(self._followers) < self._per_key_max:
            return
        if sum(follower.key_id == principal.key_id for follower in self._followers) >= self._per_key_max:
            raise RateLimited(
                f"This key has {self._per_key_max} streams open on this server, the maximum; close some, or raise"
                " STOA_STREAMS_PER_KEY_MAX.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    async def stop(self) -> None:
        self._journal.live.close()
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

    def follow(
        self,
        principal: Principal,
        run_id: UUID,
        after: int = 0,
        head: Head | None = None,
        rendering: Rendering = _OWN_FRAMES,
    ) -> "Follower":
        """Frames of every event after `after`. The caller has checked that the principal may see the run."""
        ended = head is not None and head.sealed and after >= head.last_sequence
        return Follower(self._journal, self._clock, self._followers, principal, run_id, after, rendering, ended=ended)

    def translated(self, principal: Principal, run_id: UUID, translate: Translate, end: bytes = b"") -> "Follower":
        """Every event from the first on, in another dialect: a translator builds its state from all of them. `end` is
        written after the last."""
        return self.follow(principal, run_id, rendering=_Translated(translate, end))

    async def records(self, principal: Principal, run_id: UUID) -> AsyncIterator[Sequence[Record]]:
        """Every event so far, in pages."""
        after = 0
        while records := await self._journal.read(principal, run_id, after):
            yield records
            after = records[-1].sequence

    async def page(self, principal: Principal, run_id: UUID, request: PageRequest) -> Page[Record]:
        """Events in sequence order. Sequences have no gaps, so a page is a range."""
        head = await self.head(principal, run_id)
        records: Sequence[Record] = ()
        if request.offset < head.last_sequence:
            records = await self._journal.read(principal, run_id, request.offset, request.page_size, whole=True)
        return Page(records, request.page, request.page_size, head.last_sequence)

    async def _check_keys_forever(self) -> None:
        """One query for all streams: a revoked key, or one that has expired, ends its streams within
        `CREDENTIAL_SECONDS`."""
        while True:
            await asyncio.sleep(CREDENTIAL_SECONDS)
            await self.check_keys()

    async def check_keys(self) -> None:
        """Raises Unavailable while the database is unavailable; the streams themselves then wait or end."""
        keys = {follower.key_id for follower in self._followers}
        if keys:
            living = set(await self._living_keys(keys))
            for follower in tuple(self._followers):
                if follower.key_id in keys - living:
                    follower.revoke()

    async def _tick_forever(self) -> None:
        """One timer for all streams: wakes those that are due for a poll or a heartbeat."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for follower in tuple(self._followers):
                follower.tick()


class Follower:
    """One reader and its cursor. While it waits it holds no connection, and its task is not woken to pass events on."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        followers: "set[Follower]",
        principal: Principal,
        run_id: UUID,
        after: int,
        rendering: Rendering,
        *,
        ended: bool,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._followers = followers
        self._principal = principal
        self._run_id = run_id
        self._cursor = after
        self._rendering = rendering
        self._ended = ended
        self._spoke_at = clock.monotonic()
        self._page = FIRST_PAGE_EVENTS
        self._subscription: Subscription | None = None
        self._write: Write = _nowhere
        self._blocked: Awaitable[None] | None = None
        """The client is slow: what has to be awaited before more is written."""
        self._last_words = b""

    @property
    def key_id(self) -> UUID:
        return self._principal.key_id

    def close(self, last_words: bytes = b"") -> None:
        """Ends the stream; the comment `last_words` gives the reason."""
        self._ended, self._last_words = True, last_words
        if self._subscription:
            self._subscription.wake()

    def revoke(self) -> None:
        self.close(self._rendering.revoked())

    def tick(self) -> None:
        if self._subscription:
            self._subscription.wake()

    async def deliver(self, write: Write) -> None:
        if self._ended:
            return
        with self._journal.live.subscribe(self._run_id) as subscription:
            self._subscription, self._write = subscription, write
            self._followers.add(self)
            try:
                while not (self._ended or subscription.closed):
                    if not self._flush() and not self._ended and not self._blocked:
                        await self._poll()
                    if self._blocked:
                        blocked, self._blocked = self._blocked, None
                        await blocked
                    elif not self._ended:
                        await subscription.park(self._flush)
                if self._blocked:
                    await self._blocked
                if self._last_words and (blocked := self._write(self._last_words)):
                    await blocked
            finally:
                self._followers.discard(self)

    def _flush(self) -> bool:
        """Writes what the live buffer has; false when the task must be woken to do more."""
        if self._ended or self._blocked:
            return False
        fresh = self._fresh()
        if fresh is None:
            return False
        if fresh.last_sequence > self._cursor:
            self._give(fresh)
            return not (self._ended or self._blocked)
        return self._clock.monotonic() - self._spoke_at < HEARTBEAT_SECONDS

    def _fresh(self) -> Frames | None:
        """The live buffer's events after the cursor, maybe none; None if it does not reach back that far."""
        if self._rendering is _OWN_FRAMES:  # Their bytes are rendered once for all readers.
            return self._journal.live.after(self._run_id, self._cursor)
        records = self._journal.live.records_after(self._run_id, self._cursor)
        if not records:
            return None if records is None else Frames(b"", self._cursor, terminal=False)
        return self._rendered(records)

    def _rendered(self, records: Sequence[Record]) -> Frames:
        last = records[-1]
        return Frames(self._rendering.frames(records), last.sequence, last.terminal)

    def _give(self, fresh: Frames) -> None:
        self._cursor = fresh.last_sequence
        if fresh.terminal:
            self._ended = True
        if fresh.frames:
            self._spoke_at = self._clock.monotonic()
            self._blocked = self._write(fresh.frames)

    async def _poll(self) -> None:
        """Reads the table if the live buffer does not reach back; a deleted journal ends the stream. Sends
        heartbeats."""
        if self._journal.live.records_after(self._run_id, self._cursor) is None:
            try:
                records = await self._journal.read(self._principal, self._run_id, self._cursor, self._page)
                if not records and await self._journal.head(self._principal, self._run_id) is None:
                    self._ended = True
            except Unavailable:  # The database is unavailable: the stream ends cleanly, and its client resumes.
                self._ended, records = True, ()
            self._page = READ_EVENTS_MAX
            if records:
                self._give(self._rendered(records))
                self.tick()  # There may be more in the table.
                return
        if self._clock.monotonic() - self._spoke_at >= HEARTBEAT_SECONDS:
            self._spoke_at = self._clock.monotonic()
            if self._rendering.heartbeat:
                self._blocked = self._write(self._rendering.heartbeat)


def _nowhere(_: bytes) -> None:
    """Before the stream begins."""
