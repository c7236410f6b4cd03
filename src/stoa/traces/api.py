"""The collector's route, and the reading of traces (contract section 9)."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from stoa.http import Acknowledgement, Data, DataList, Gate, Paging, Routes, page_of, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import BodyLimit, allow
from stoa.kernel.errors import AppError, BadRequest, TooLarge, Unauthorized, UnsupportedMediaType
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.storable import as_storable
from stoa.traces import attributes, otlp, rules, store, wire
from stoa.traces.service import Collector, Traces
from stoa.traces.types import Batch, Filter, Rejected, Span

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of a request as it is sent, and again of what a compressed one unpacks to."""
PARSED_HERE_BYTES_MAX: Final = 64 * 1024
"""A larger body is parsed on a thread."""
_NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL stores no NUL in a text, so no trace has one in its id."""
PROTOBUF: Final = "application/x-protobuf"
INVALID_ARGUMENT: Final = 3
"""google.rpc.Code."""
_DOCUMENTED: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "description": "`runs`, or `resourceSpans`."},
                "examples": {"runs": {"value": {"runs": []}}},
            },
        },
    }
}


def collector_routes(collector: Collector, gate: Gate) -> Routes:
    router = Routes(tags=["traces"])

    @router.post(
        "/v1/traces",
        response_class=Response,
        responses={200: {"model": wire.StoredWire}, **refusals(413, 415)},
        openapi_extra=_DOCUMENTED,
    )
    async def collect(request: Request) -> Response:
        """Stores the spans of other programs: `{"runs": […]}` as the platform's SDK sends them, or OTLP as JSON or
        protobuf, also compressed with gzip. They are committed when this answers. One that is wrong is named and left
        out; the others are stored. Needs the key of a project."""
        protobuf = request.headers.get("content-type", "").split(";")[0].strip() == PROTOBUF
        try:
            principal = await gate.admit(request, bearer_token(request), "traces:write")
            if principal.project_id is None:
                raise Unauthorized("The collector takes the key of a project; this one is organization-wide.")
            allow(request.scope, BodyLimit(BODY_BYTES_MAX))
            body = await _body(request)
            batch, speaks_otlp = await _read(body, protobuf=protobuf)
        except AppError as refusal:
            if not protobuf:
                raise
            return _status(refusal)
        await collector.store(principal, principal.project_id, batch)
        if protobuf:
            return Response(otlp.answer_protobuf(len(batch.rejected), _summary(batch.rejected)), media_type=PROTOBUF)
        if speaks_otlp:
            return _otlp_json(batch.rejected)
        answer = wire.stored(batch.rejected).model_dump(mode="json", exclude_none=True)
        return Response(orjson.dumps(answer), media_type="application/json")

    return router


async def _body(request: Request) -> bytes:
    """Unpacked. Raises TooLarge before more is read or unpacked than is allowed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:50]} is not taken here; send gzip, or nothing.")
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    body, sent = bytearray(), 0
    async for piece in request.stream():
        sent += len(piece)
        try:
            body += unpack.decompress(piece, BODY_BYTES_MAX + 1 - len(body)) if unpack else piece
        except zlib.error as error:
            raise BadRequest.field("body", "is no gzip") from error
        if len(body) > BODY_BYTES_MAX or sent > BODY_BYTES_MAX:
            raise TooLarge(f"The body is over the limit of {BODY_BYTES_MAX >> 20} MiB; send fewer spans at once.")
    if unpack is not None and not unpack.eof:
        raise BadRequest.field("body", "is gzip that ends early")
    return bytes(body)


async def _read(body: bytes, *, protobuf: bool) -> tuple[Batch, bool]:
    """The spans, and whether the request speaks OTLP. Raises BadRequest when none of them can be stored."""
    parse = _parse_protobuf if protobuf else _parse_json
    if len(body) <= PARSED_HERE_BYTES_MAX:
        batch, speaks_otlp = parse(body)
    else:
        batch, speaks_otlp = await asyncio.to_thread(parse, body)
    if not speaks_otlp and batch.rejected and not batch.spans:
        details = {f"runs[{one.index}]{f'.{one.field}' if one.field else ''}": one.reason for one in batch.rejected}
        raise BadRequest("No run of this request can be stored.", details=details)
    return batch, speaks_otlp


def _parse_protobuf(body: bytes) -> tuple[Batch, bool]:
    try:
        return _bounded(otlp.read_protobuf(body)), True
    except otlp.Malformed as error:
        raise BadRequest.field("body", str(error)) from error


def _parse_json(body: bytes) -> tuple[Batch, bool]:
    try:
        document = store.parsed(body)
    except ValueError as error:
        raise BadRequest.field("body", "is not valid JSON") from error
    if isinstance(document, dict) and "resourceSpans" in document:
        try:
            return _bounded(otlp.read_json(document)), True
        except otlp.Malformed as error:
            raise BadRequest.field("body", str(error)) from error
    runs = document.get("runs") if isinstance(document, dict) else None
    if not isinstance(runs, list):
        raise BadRequest.field("runs", "is required, and must be a list")
    if len(runs) > rules.SPANS_MAX:
        raise TooLarge(f"A request may hold {rules.SPANS_MAX} runs; this one has {len(runs)}.")
    return rules.read_runs(runs), False


def _bounded(batch: Batch) -> Batch:
    if len(batch.spans) + len(batch.rejected) > rules.SPANS_MAX:
        raise TooLarge(f"A request may hold {rules.SPANS_MAX} spans; send fewer at once.")
    return batch


def _summary(rejected: Sequence[Rejected]) -> str:
    return "; ".join(f"span {one.index}: {one.field} {one.reason}" for one in rejected[:10])


def _otlp_json(rejected: Sequence[Rejected]) -> Response:
    """ExportTraceServiceResponse: an empty object when everything was stored."""
    partial = {"partialSuccess": {"rejectedSpans": str(len(rejected)), "errorMessage": _summary(rejected)}}
    return Response(orjson.dumps(partial if rejected else {}), media_type="application/json")


def _status(refusal: AppError) -> Response:
    """A refusal as OTLP has it: google.rpc.Status in the content type of the request."""
    body = otlp.status_protobuf(INVALID_ARGUMENT, refusal.message)
    return Response(body, refusal.status, refusal.headers, PROTOBUF)


def routes(traces: Traces, gate: Gate) -> Routes:
    router = Routes(tags=["traces"])
    reading, writing = gate("traces:read"), gate("traces:write")

    @router.get("/v1/traces", responses=refusals())
    async def list_traces(
        principal: Annotated[Principal, reading],
        which: Annotated[Filter, Depends(_filter())],
        page: Annotated[PageRequest, Depends(Paging())],
    ) -> DataList[wire.TraceWire]:
        """The traces of a project, the newest first: those that other programs sent, and those of this server's runs.
        `total_count` counts up to 1,000 after the page."""
        return page_of(await traces.list(principal, which, page), wire.trace)

    @router.get("/v1/traces/{trace_id}", responses=refusals(404))
    async def get_trace(
        trace_id: Annotated[str, Path(max_length=rules.ID_CHARACTERS_MAX, pattern=_NO_NUL)],
        principal: Annotated[Principal, reading],
    ) -> Data[wire.FullTraceWire]:
        """A trace with all its steps, in the order in which they began; `parent_run_id` makes the tree."""
        found = await traces.get(principal, trace_id)
        return Data(data=wire.FullTraceWire(id=trace_id, runs=[_span(one) for one in found]))

    @router.delete("/v1/traces/{trace_id}", responses=refusals(404))
    async def delete_trace(
        trace_id: Annotated[str, Path(max_length=rules.ID_CHARACTERS_MAX, pattern=_NO_NUL)],
        principal: Annotated[Principal, writing],
    ) -> Acknowledgement:
        """Deletes a trace that was sent, with all its steps. A run's trace goes with its conversation."""
        await traces.delete(principal, trace_id)
        return Acknowledgement(message="deleted")

    return router


def _span(found: Span) -> wire.SpanWire:
    named = found.body.get("attributes")
    held = named if isinstance(named, dict) else {}
    return wire.span(found, attributes.first(held, attributes.INPUT), attributes.first(held, attributes.OUTPUT))


def _filter() -> Callable[..., Filter]:
    def chosen(
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
        seconds_min: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
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
            seconds_min,
        )

    return chosen


def _storable(text: str | None) -> str | None:
    """As it stands in the database, so that it can be found there."""
    return as_storable(text) if text is not None else None
