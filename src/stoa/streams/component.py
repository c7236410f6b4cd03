"""The read side, built: followers of journals, and tickets for browsers that cannot send a header."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from pydantic import BaseModel
from starlette.responses import Response

from stoa.apps import Entities
from stoa.http.component import Component, Kit, Started
from stoa.http.hosts import HostKind
from stoa.http.sse import HEARTBEAT, EventStream, Frames
from stoa.journal import Journal
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.streams.api import events_page, replay, routes
from stoa.streams.chunks import Chunks, line_frame, sse_frame
from stoa.streams.service import LivingKeys, Streams
from stoa.streams.tickets import Tickets
from stoa.streams.wire import event_list


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsComponent(Component):
    streams: Streams
    open_stream: Callable[[Principal, UUID], EventStream]
    """The event stream of a run, from its first event."""
    replay: Callable[[Principal, UUID, int | None, str | None], Awaitable[Response]]
    """(principal, run, after_sequence, Last-Event-ID) → its events after that, then live."""
    events_page: Callable[[Principal, UUID, PageRequest], Awaitable[Response]]
    event_list: Callable[[], type[BaseModel]]
    """The model of such a page, which only the OpenAPI document needs."""
    open_chunks: Callable[[Principal, UUID, Entities], EventStream]
    """The same stream in the platform's form."""
    lines: Callable[[Principal, UUID, Entities], tuple[Chunks, Frames]]
    """That form as one message per line, for a WebSocket."""


@asynccontextmanager
async def open_component(
    kit: Kit,
    journal: Journal,
    principal_of_key: Callable[[UUID], Awaitable[Principal]],
    valid_keys: LivingKeys,
    *,
    streams_per_key_max: int,
) -> AsyncGenerator[StreamsComponent]:
    streams = Streams(journal, kit.clock, valid_keys, streams_per_key_max)

    def open_stream(principal: Principal, run_id: UUID) -> EventStream:
        return EventStream(streams.follow(principal, run_id), {"Stoa-Run-Id": str(run_id)})

    def open_chunks(principal: Principal, run_id: UUID, entities: Entities) -> EventStream:
        chunks = Chunks(run_id, entities, sse_frame, HEARTBEAT)
        return EventStream(streams.follow(principal, run_id, rendering=chunks), {"Stoa-Run-Id": str(run_id)})

    def lines(principal: Principal, run_id: UUID, entities: Entities) -> tuple[Chunks, Frames]:
        chunks = Chunks(run_id, entities, line_frame)
        return chunks, streams.follow(principal, run_id, rendering=chunks)

    yield StreamsComponent(
        streams=streams,
        open_stream=open_stream,
        open_chunks=open_chunks,
        lines=lines,
        replay=partial(replay, streams),
        events_page=partial(events_page, streams),
        event_list=event_list,
        routers={HostKind.API: [routes(streams, kit.gate, Tickets(kit.secret, kit.clock), principal_of_key)]},
        background=[Started(start=streams.start)],
        hang_up=[streams.stop],
    )
