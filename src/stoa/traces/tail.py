"""The live tail of a trace: its spans as Server-Sent Events, each again when it changes, until the trace is finished.

It polls one row by its key every half second. A NOTIFY in each of the collector's commits would serialize all senders
(NOTIFY takes a global lock at commit). While it waits it holds no connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Database
from stoa.http.sse import HEARTBEAT, Write
from stoa.kernel.errors import NotFound, RateLimited, Unavailable
from stoa.kernel.principal import Principal
from stoa.traces import store, wire
from stoa.traces.store import SQL
from stoa.traces.types import Span

POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 15.0
KEY_SECONDS: Final = 10.0
"""How often the access key of an open tail is checked."""
QUIET_SECONDS: Final = 5.0
"""A trace whose spans are all finished may still grow: its tail ends when no span has arrived for this time."""
TAIL_SECONDS_MAX: Final = 15 * 60.0
"""The limit of a tail's duration; then its client connects again."""
TAILS_MAX: Final = 200
"""The limit of tails on one node."""
TAILS_PER_KEY_MAX: Final = 50
_BEGINNING: Final = (datetime(1, 1, 1, tzinfo=UTC), "")
_END: Final = b"event: end\ndata: {}\n\n"
_REVOKED: Final = b": this stream has ended: its access key was revoked or has expired\n\n"

LivingKeys = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]
Render = Callable[[Span], wire.SpanWire]


class Tails:
    """The live tails of this node."""

    def __init__(self, database: Database, valid_keys: LivingKeys, render: Render) -> None:
        self._database = database
        self._living_keys = valid_keys
        self._render = render
        self._open: set[Tail] = set()

    async def open(self, principal: Principal, trace_id: str, after: str | None) -> "Tail":
        """`after` is the id of the last event that the client has. Raises NotFound, RateLimited."""
        mine = sum(tail.principal.key_id == principal.key_id for tail in self._open)
        if len(self._open) >= TAILS_MAX or mine >= TAILS_PER_KEY_MAX:
            raise RateLimited(
                f"There are too many live tails of traces open on this server ({TAILS_PER_KEY_MAX} for each key);"
                " close some, or read the trace itself.",
                retry_after_seconds=5,
            )
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.trace, principal.org_id, trace_id)
            if row is not None:
                return _SentTail(self, principal, trace_id, row["project_id"], _cursor(after))
            try:
                run_id = UUID(trace_id)
            except ValueError:
                run_id = None
            if run_id is None or await tx.fetchrow(SQL.own_progress, principal.org_id, run_id) is None:
                raise NotFound(f"There is no trace {trace_id}.")
            return _OwnTail(self, principal, run_id, _sequence(after))

    async def stop(self) -> None:
        for tail in tuple(self._open):
            tail.close()

    @property
    def database(self) -> Database:
        return self._database

    def frame(self, span: Span, event_id: str | None) -> bytes:
        said = self._render(span).model_dump(mode="json", exclude_none=True)
        number = b"" if event_id is None else b"id: %s\n" % event_id.encode()
        return b"%sevent: span\ndata: %s\n\n" % (number, orjson.dumps(said))

    def enter(self, tail: "Tail") -> None:
        self._open.add(tail)

    def leave(self, tail: "Tail") -> None:
        self._open.discard(tail)

    async def is_living(self, principal: Principal) -> bool:
        return principal.key_id in await self._living_keys([principal.key_id])


class Tail:
    """One reader. Subclasses read the spans of one kind of trace."""

    def __init__(self, tails: Tails, principal: Principal) -> None:
        self._tails = tails
        self.principal = principal
        self._closed = asyncio.Event()

    def close(self) -> None:
        self._closed.set()

    async def deliver(self, write: Write) -> None:
        self._tails.enter(self)
        try:
            await self._deliver(write)
        except Unavailable:
            pass  # The database is down: the stream ends cleanly, and its client connects again.
        finally:
            self._tails.leave(self)

    async def _deliver(self, write: Write) -> None:
        begun = spoke = checked = monotonic()
        while not self._closed.is_set() and monotonic() - begun < TAIL_SECONDS_MAX:
            frames, ended = await self._step()
            now = monotonic()
            if not frames and now - spoke >= HEARTBEAT_SECONDS:
                frames = [HEARTBEAT]
            if ended:
                frames = [*frames, _END]
            for frame in frames:
                spoke = now
                if (blocked := write(frame)) is not None:
                    await blocked
            if ended:
                return
            if now - checked >= KEY_SECONDS:
                checked = now
                if not await self._tails.is_living(self.principal):
                    write(_REVOKED)
                    return
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            return

    async def _step(self) -> tuple[Sequence[bytes], bool]:
        """The new frames, and whether the trace has ended."""
        raise NotImplementedError


class _SentTail(Tail):
    """A trace that another program sends: its spans in the order of storage."""

    def __init__(
        self, tails: Tails, principal: Principal, trace_id: str, project_id: UUID, after: tuple[datetime, str]
    ) -> None:
        super().__init__(tails, principal)
        self._trace_id, self._project_id, self._after = trace_id, project_id, after
        self._seen: datetime | None = None

    async def _step(self) -> tuple[Sequence[bytes], bool]:
        org_id = self.principal.org_id
        async with self._tails.database.tenant(self.principal) as tx:
            row = await tx.fetchrow(SQL.trace, org_id, self._trace_id)
            if row is None:
                return (), True
            rows: Sequence[Any] = ()
            if row["received_at"] != self._seen:
                rows = await store.received(tx, org_id, self._project_id, self._trace_id, self._after)
        if len(rows) < store.TAILED_MAX:
            self._seen = row["received_at"]
        frames = await asyncio.to_thread(self._frames, rows) if rows else ()
        if rows:
            self._after = rows[-1]["received_at"], rows[-1]["id"]
        finished = row["status"] is not None and row["quiet_seconds"] > QUIET_SECONDS
        return frames, finished and len(rows) < store.TAILED_MAX

    def _frames(self, rows: Sequence[Any]) -> Sequence[bytes]:
        return [self._tails.frame(store.span(one), _event_id((one["received_at"], one["id"]))) for one in rows]


class _OwnTail(Tail):
    """A run of this server. Its spans are computed again when the journal has grown, and those that differ are sent.

    The last frame of each round carries the sequence up to which the journal was read. A client that reconnects with it
    gets the spans that have changed since.
    """

    def __init__(self, tails: Tails, principal: Principal, run_id: UUID, after: int) -> None:
        super().__init__(tails, principal)
        self._run_id = run_id
        self._after = after
        self._sequence = -1
        self._sent: dict[str, Span] = {}

    async def _step(self) -> tuple[Sequence[bytes], bool]:
        async with self._tails.database.tenant(self.principal, snapshot=True) as tx:
            progress = await tx.fetchrow(SQL.own_progress, self.principal.org_id, self._run_id)
            if progress is None:
                return (), True
            if progress["last_sequence"] == self._sequence and not progress["ended"]:
                return (), False
            rows = await store.own_rows(tx, self.principal.org_id, self._run_id)
        if rows is None:
            return (), True
        self._sequence = progress["last_sequence"]
        spans = await asyncio.to_thread(rows.spans)
        fresh = [span for span in spans if self._sent.get(span.id) != span and self._is_new(span)]
        self._sent |= {span.id: span for span in spans}
        frames = [self._tails.frame(span, None) for span in fresh[:-1]]
        frames += [self._tails.frame(span, str(self._sequence)) for span in fresh[-1:]]
        return frames, bool(progress["ended"])

    def _is_new(self, span: Span) -> bool:
        """Whether a span can have changed since the client's last frame. Its cost is stored with its last event."""
        last = span.body["metadata"].get("last_sequence")
        return span.id in self._sent or span.ended_at is None or not isinstance(last, int) or last > self._after


def _event_id(after: tuple[datetime, str]) -> str:
    return f"{after[0].isoformat()}/{orjson.dumps(after[1]).decode()}"


def _sequence(text: str | None) -> int:
    """The sequence after which a client resumes; 0 for an invalid one."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _cursor(text: str | None) -> tuple[datetime, str]:
    """The position at which a client resumes. An invalid one starts from the beginning, because receiving a span twice
    does no harm."""
    try:
        moment, _, span_id = (text or "").partition("/")
        found = datetime.fromisoformat(moment), orjson.loads(span_id)
    except ValueError:
        return _BEGINNING
    return found if found[0].tzinfo is not None and isinstance(found[1], str) and "\0" not in found[1] else _BEGINNING
