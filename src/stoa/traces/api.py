"""Routes that read traces, of a project and of an app, and a project's trace settings (contract sections 6 and 9)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Depends, Header, Path, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from stoa.http import Data, DataList, Gate, Routes, page_of, refusals
from stoa.http.paging import ABOUT_CURSORS, Page, PageSize
from stoa.http.sse import OTHER_STREAM_CONTENT, EventStream
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.pages import CURSOR_CHARACTERS_MAX, PAGE_SIZE_DEFAULT, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.storable import as_storable
from stoa.traces import attributes, rules, wire
from stoa.traces.configuring import Settings
from stoa.traces.ports import Apps
from stoa.traces.service import Traces
from stoa.traces.tail import Tails
from stoa.traces.types import Filter, Span

_NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL's text type cannot store NUL, so no trace id contains one."""
RENDERED_HERE_MAX: Final = 50
"""A trace with more steps than this is rendered on a thread."""
TraceId = Annotated[str, Path(max_length=rules.ID_CHARACTERS_MAX, pattern=_NO_NUL)]


def routes(traces: Traces, tails: Tails, gate: Gate) -> Routes:
    router = Routes(tags=["traces"])
    reading, writing = gate("traces:read"), gate("traces:write")

    @router.get("/v1/traces", responses=refusals())
    async def list_traces(
        principal: Annotated[Principal, reading],
        which: Annotated[Filter, Depends(_filter())],
        page: Annotated[PageRequest, Depends(_paging)],
    ) -> DataList[wire.TraceWire]:
        """The traces of a project, the newest first: those that other programs sent, and those of this server's runs.
        A page reads 5,000 traces at most, with `q` 500: it may hold fewer than there are, and `next_cursor` goes on
        where it stopped. `total_count` counts up to 1,000 after the page."""
        return page_of(await traces.list(principal, which, page), wire.trace)

    @router.get("/v1/trace-aggregates", responses=refusals())
    async def aggregate_traces(
        principal: Annotated[Principal, reading],
        which: Annotated[Filter, Depends(_filter())],
        group_by: Annotated[
            list[Literal["day", "model", "name", "status", "wire", "user_id", "session_id", "source_id"]],
            Query(max_length=4, description="May be repeated: `day` and `model` give the tokens by model and day."),
        ] = [],  # noqa: B006 — FastAPI copies it
    ) -> Data[wire.AggregatesWire]:
        """What the newest 10,000 traces of the filter sum up to: how many, how many failed, how long they took
        (percentiles), tokens and cost. By `model`, they are those of the steps that called it."""
        found = await traces.aggregates(principal, which, list(dict.fromkeys(group_by)))
        return Data(data=wire.AggregatesWire(groups=[wire.aggregate(one) for one in found]))

    @router.get(
        "/v1/traces/{trace_id}",
        response_class=Response,
        responses={200: {"model": Data[wire.FullTraceWire]}, **refusals(404)},
    )
    async def get_trace(
        trace_id: TraceId,
        principal: Annotated[Principal, reading],
        sequence: Annotated[
            int | None, Query(ge=1, le=2**31 - 1, description="Of an event of a run of this server.")
        ] = None,
    ) -> Response:
        """A trace with all its steps, in the order in which they began; `parent_run_id` makes the tree. With
        `sequence`, the steps that this event (a token, say) belongs to, from the root to the innermost. Of this
        server's runs each step names its first and last event, and a search of a knowledge base the passages that it
        found, in `metadata`."""
        found = await traces.get(principal, trace_id, sequence)
        return await _whole(trace_id, found)

    @router.get("/v1/traces/{trace_id}/diff", responses=refusals(404))
    async def compare_traces(
        trace_id: TraceId,
        principal: Annotated[Principal, reading],
        other: Annotated[
            str | None,
            Query(max_length=rules.ID_CHARACTERS_MAX, pattern=_NO_NUL, description="Another trace; it must be named."),
        ] = None,
    ) -> Data[wire.DifferenceWire]:
        """Two traces step by step: those that both have, and what of them differs; those that only one has. `left` is
        the trace of the path, `right` the other."""
        found = await traces.compare(principal, trace_id, other)
        return Data(data=wire.difference(trace_id, other or "", found))

    @router.get(
        "/v1/traces/{trace_id}/stream",
        response_class=Response,
        responses={200: {"description": "Server-Sent Events.", "content": OTHER_STREAM_CONTENT}, **refusals(404, 429)},
    )
    async def tail_trace(
        trace_id: TraceId,
        principal: Annotated[Principal, reading],
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=600)] = None,
    ) -> Response:
        """The steps of a trace as they come: `span` events in the shape of `GET /v1/traces/{trace_id}`. A step comes
        again when it changes: replace it by its `id`. The event `end` says that the trace is finished."""
        return EventStream(await tails.open(principal, trace_id, last_event_id))

    @router.delete("/v1/traces/{trace_id}", responses=refusals(404))
    async def delete_trace(trace_id: TraceId, principal: Annotated[Principal, writing]) -> wire.DeletedTraceWire:
        """Deletes a trace that was sent, with all its steps; `GET /v1/deletions/{deletion_id}` is the receipt. A run's
        trace goes with its conversation."""
        return wire.DeletedTraceWire(message="deleted", deletion_id=await traces.delete(principal, trace_id))

    return router


def app_routes(traces: Traces, apps: Apps, gate: Gate) -> Routes:
    """An app's traces: of its runs, and those that were sent with its id as `source_id`."""
    router = Routes(tags=["apps"])
    reading = gate("traces:read")

    @router.get("/v1/apps/{app_id}/traces", responses=refusals(404))
    async def list_app_traces(
        app_id: UUID,
        principal: Annotated[Principal, reading],
        which: Annotated[Filter, Depends(_filter())],
        page: Annotated[PageRequest, Depends(_paging)],
    ) -> DataList[wire.TraceWire]:
        """The traces of an app, the newest first: those of its runs, and those that other programs sent with the app's
        id as `source_id`. The filters are those of `GET /v1/traces`."""
        project_id = await apps.project_of(principal, app_id)
        return page_of(await traces.list(principal, of_app(which, app_id, project_id), page), wire.trace)

    @router.get(
        "/v1/apps/{app_id}/traces/{trace_id}",
        response_class=Response,
        responses={200: {"model": Data[wire.FullTraceWire]}, **refusals(404)},
    )
    async def get_app_trace(app_id: UUID, trace_id: TraceId, principal: Annotated[Principal, reading]) -> Response:
        """A trace of the app, with all its steps."""
        await apps.project_of(principal, app_id)
        found = await traces.get(principal, trace_id)
        if not any(span.source_id == str(app_id) for span in found):
            raise NotFound(f"There is no trace {trace_id} of this app.")
        return await _whole(trace_id, found)

    return router


def settings_routes(settings: Settings, gate: Gate) -> Routes:
    router = Routes(tags=["traces"])

    @router.get("/v1/trace-settings", responses=refusals())
    async def get_trace_settings(
        principal: Annotated[Principal, gate("traces:read")], project_id: UUID | None = None
    ) -> Data[wire.TraceSettingsWire]:
        """How long a project keeps the traces that were sent, where its runs are exported to, and how that stands."""
        return Data(data=wire.settings(await settings.get(principal, project_id)))

    @router.put("/v1/trace-settings", responses=refusals())
    async def change_trace_settings(
        body: wire.ChangeTraceSettings,
        principal: Annotated[Principal, gate("projects:write")],
        project_id: UUID | None = None,
    ) -> Data[wire.TraceSettingsWire]:
        """Changes them as a whole. `retention_days` left out: as the server says; `keep_forever`: no trace is removed.
        `export` left out: only where the server says. `export.headers` are stored encrypted and never given back; left
        out, those that are stored stay."""
        changed = await settings.change(principal, project_id, wire.changed_settings(body))
        return Data(data=wire.settings(changed))

    return router


async def _whole(trace_id: str, found: Sequence[Span]) -> Response:
    """Renders a long trace off the event loop."""

    def render() -> bytes:
        whole = wire.FullTraceWire(id=trace_id, runs=[span_wire(one) for one in found])
        return Data[wire.FullTraceWire](data=whole).model_dump_json(exclude_none=True).encode()

    body = render() if len(found) <= RENDERED_HERE_MAX else await asyncio.to_thread(render)
    return Response(body, media_type="application/json")


def span_wire(found: Span) -> wire.SpanWire:
    """`attributes_input` and `attributes_output` are the input and output under an instrumentation's own names."""
    named, said = found.body.get("attributes"), found.body.get("events")
    if not isinstance(named, dict):
        return wire.span(found)
    events = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return wire.span(
        found,
        attributes.said(named, attributes.IN, events),
        attributes.said(named, attributes.OUT, events),
    )


def of_app(which: Filter, app_id: UUID, project_id: UUID) -> Filter:
    return replace(which, source_id=str(app_id), project_id=project_id)


async def _paging(
    page: Page = 1,
    page_size: PageSize = PAGE_SIZE_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=CURSOR_CHARACTERS_MAX, description=ABOUT_CURSORS)] = None,
) -> PageRequest:
    if cursor is not None and page != 1:
        raise BadRequest.field("page", "cannot be sent together with a cursor, which says where the page begins")
    return PageRequest(page, page_size, cursor=cursor)


def _filter() -> Callable[..., Awaitable[Filter]]:
    async def chosen(
        project_id: UUID | None = None,
        started_from: Annotated[AwareDatetime | None, Query(alias="started_at:gte")] = None,
        started_to: Annotated[AwareDatetime | None, Query(alias="started_at:lte")] = None,
        status: Annotated[
            list[Literal["succeeded", "failed", "canceled", "running"]] | None, Query(description="May be repeated.")
        ] = None,
        name: Annotated[str | None, Query(max_length=200, description="Part of the name.")] = None,
        model: Annotated[str | None, Query(max_length=300)] = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
        session_id: Annotated[str | None, Query(max_length=255)] = None,
        tag: Annotated[str | None, Query(max_length=255)] = None,
        source_id: Annotated[str | None, Query(max_length=255)] = None,
        wire: Annotated[list[Literal["sdk", "otlp", "stoa"]] | None, Query(description="Who wrote it.")] = None,
        cost_usd_min: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        cost_usd_max: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        seconds_min: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        seconds_max: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        q: Annotated[
            str | None, Query(max_length=500, description="Words that all stand in one step, at any place of it.")
        ] = None,
    ) -> Filter:
        return Filter(
            started_from,
            started_to,
            status or (),
            _storable(name),
            _storable(model),
            _storable(user_id),
            _storable(session_id),
            _storable(tag),
            _storable(source_id),
            wire or (),
            project_id,
            cost_usd_min,
            cost_usd_max,
            seconds_min,
            seconds_max,
            (_storable(q) or "").split()[: rules.WORDS_MAX],
        )

    return chosen


def _storable(text: str | None) -> str | None:
    """The text as it is stored, so that a filter finds it."""
    return as_storable(text) if text is not None else None
