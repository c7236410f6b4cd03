"""Turns OTLP over HTTP (JSON and protobuf) into spans. The protobuf classes are loaded with the first such request."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stoa.kernel.storable import as_storable
from stoa.traces import attributes, rules
from stoa.traces.types import Batch, Rejected, Span

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NANOSECONDS_MAX: Final = 253_402_300_799 * 1_000_000_000
"""The end of the year 9999, in nanoseconds."""
ERROR: Final = 2
"""STATUS_CODE_ERROR."""
KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
VALUE_DEPTH_MAX: Final = 32
ATTRIBUTES_MAX: Final = 1_000
EVENTS_MAX: Final = 1_000
"""The limit of events in one span, and of links; OpenTelemetry's own limit is 128. More are left out."""


class Malformed(ValueError):
    """The request is not OTLP. The message says why."""


class TooMany(ValueError):
    """The request holds more spans than are allowed."""


def read_json(document: Any) -> Batch:
    """ExportTraceServiceRequest in OTLP's JSON: ids in hexadecimal, camelCase. Raises Malformed."""
    resources = document.get("resourceSpans") if isinstance(document, Mapping) else None
    if not isinstance(resources, Sequence) or isinstance(resources, str):
        raise Malformed("resourceSpans must be a list")
    return _batch(_walk_json(resources))


def read_protobuf(body: bytes) -> Batch:
    """Raises Malformed."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 — 60 ms, only for those who send protobuf
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except (DecodeError, RecursionError) as error:
        raise Malformed("the body is no ExportTraceServiceRequest") from error
    # Counted before any is converted: eight million bytes can hold four million empty spans.
    if (
        sum(len(scoped.spans) for resource in request.resource_spans for scoped in resource.scope_spans)
        > rules.SPANS_MAX
    ):
        raise TooMany
    return _batch(_walk_protobuf(request))


def answer_protobuf(rejected: int, message: str) -> bytes:
    """ExportTraceServiceResponse."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 — as above
        ExportTraceServiceResponse,
    )

    response = ExportTraceServiceResponse()
    if rejected or message:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def status_protobuf(code: int, message: str) -> bytes:
    """google.rpc.Status: `int32 code = 1; string message = 2`."""
    text = message.encode()
    length = bytearray()
    size = len(text)
    while size > 0x7F:
        length.append((size & 0x7F) | 0x80)
        size >>= 7
    length.append(size)
    return b"\x08" + bytes([code]) + b"\x12" + bytes(length) + text


Raw = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]
"""(resource attributes, scope, span) in OTLP's JSON names, with attributes as plain mappings."""


def _batch(found: Iterable[Raw | None]) -> Batch:
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for index, raw in enumerate(found):
        if raw is None:
            rejected.append(Rejected(index, "", "is no span"))
            continue
        if index >= rules.SPANS_MAX:
            raise TooMany
        problem = _problem(raw[2])
        if problem is not None:
            rejected.append(Rejected(index, *problem))
            continue
        span = _span(*raw)
        if rules.can_be_stored(span.body):
            spans.append(span)
        else:
            rejected.append(Rejected(index, "", rules.TOO_DEEP))
    return Batch(rules.distinct(spans), rejected)


def _problem(span: Mapping[str, Any]) -> tuple[str, str] | None:
    if not _hexadecimal(span.get("traceId"), 32):
        return "traceId", "must be 32 hexadecimal digits, not all zero"
    if not _hexadecimal(span.get("spanId"), 16):
        return "spanId", "must be 16 hexadecimal digits, not all zero"
    if not _without_parent(span) and not _hexadecimal(span["parentSpanId"], 16):
        return "parentSpanId", "must be 16 hexadecimal digits"
    start, end = _nanoseconds(span.get("startTimeUnixNano")), _nanoseconds(span.get("endTimeUnixNano", 0))
    if not start:
        return "startTimeUnixNano", "must be a time in nanoseconds since 1970"
    if end is None:
        return "endTimeUnixNano", "must be a time in nanoseconds since 1970"
    return None


def _without_parent(span: Mapping[str, Any]) -> bool:
    """Whether a span has no parent. Tracers that keep ids as numbers write zeros for none."""
    parent = span.get("parentSpanId")
    return not parent or (isinstance(parent, str) and not parent.strip("0") and len(parent) in (16, 32))


def _hexadecimal(value: Any, digits: int) -> bool:
    return _identity(value, digits) is not None


def _identity(value: Any, digits: int) -> str | None:
    """An id in lower-case hexadecimal; None for an invalid one. Some exporters write JSON in protobuf's own mapping,
    with ids in Base64; their length tells them apart."""
    if not isinstance(value, str):
        return None
    try:
        if len(value) == digits and value.isascii() and value.isalnum():
            raw = bytes.fromhex(value)
        elif len(value) == -(-digits // 6) * 4:
            raw = base64.b64decode(value, validate=True)
        else:
            return None
    except ValueError:
        return None
    return raw.hex() if len(raw) * 2 == digits and any(raw) else None


def _nanoseconds(value: Any) -> int | None:
    """OTLP's JSON writes 64-bit integers as strings; some exporters write numbers."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= NANOSECONDS_MAX else None


def _moment(nanoseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def _span(resource: Mapping[str, Any], scope: Mapping[str, Any], span: Mapping[str, Any]) -> Span:
    found: Mapping[str, Any] = span["attributes"]
    start, end = _nanoseconds(span["startTimeUnixNano"]) or 0, _nanoseconds(span.get("endTimeUnixNano", 0)) or 0
    started_at, ended_at = _moment(start), _moment(max(end, start)) if end else None
    failed = span["status"].get("code") in (ERROR, "STATUS_CODE_ERROR", "2")
    own = not attributes.repeats_usage(found)
    parent_id = _identity(span.get("parentSpanId"), 16)
    return Span(
        trace_id=_identity(span["traceId"], 32) or "",
        id=_identity(span["spanId"], 16) or "",
        parent_id=parent_id,
        wire="otlp",
        name=as_storable(str(span.get("name") or "span"))[: rules.NAME_CHARACTERS_MAX],
        type="node" if parent_id else "workflow",
        status=None if ended_at is None else "failed" if failed else "succeeded",
        started_at=started_at,
        ended_at=ended_at,
        body={**span, "resource": resource, "scope": scope},
        source_id=rules.optional_text(resource.get("service.name")),
        session_id=rules.optional_text(attributes.first(found, attributes.SESSION_ID)),
        user_id=rules.optional_text(attributes.first(found, attributes.USER_ID)),
        model=rules.optional_text(attributes.model(found)),
        prompt_tokens=rules.count(attributes.first(found, attributes.PROMPT_TOKENS)) if own else None,
        completion_tokens=rules.count(attributes.first(found, attributes.COMPLETION_TOKENS)) if own else None,
        cost_usd=rules.dollars(attributes.first(found, attributes.COST_USD)) if own else None,
        tags=rules.tags(attributes.first(found, attributes.TAGS)),
    )


# --- JSON -------------------------------------------------------------------------------------------------------------
def _walk_json(resources: Sequence[Any]) -> Iterable[Raw | None]:
    for resource in _objects(resources):
        described = resource.get("resource")
        shared = _json_attributes(described.get("attributes") if isinstance(described, Mapping) else None)
        # scope_spans was called instrumentationLibrarySpans before OTLP 0.15.
        for scoped in _objects(resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")):
            scope = scoped.get("scope")
            named = (
                {key: scope[key] for key in ("name", "version") if key in scope} if isinstance(scope, Mapping) else {}
            )
            spans = scoped.get("spans")
            for span in spans if isinstance(spans, list) else ():
                yield (shared, named, _json_span(span)) if isinstance(span, Mapping) else None


def _objects(value: Any, most: int | None = None) -> Iterable[Mapping[str, Any]]:
    return (one for one in value[:most] if isinstance(one, Mapping)) if isinstance(value, list) else ()


def _json_span(span: Mapping[str, Any]) -> Mapping[str, Any]:
    status = span.get("status")
    events = [
        {**event, "attributes": _json_attributes(event.get("attributes"))}
        for event in _objects(span.get("events"), EVENTS_MAX)
    ]
    return {
        **span,
        "attributes": _json_attributes(span.get("attributes")),
        "status": status if isinstance(status, Mapping) else {},
        "events": events,
    }


def _json_attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):  # Some exporters write them as an object of plain values.
        return {str(key): held for key, held in list(value.items())[:ATTRIBUTES_MAX]}
    return {
        str(one["key"]): _json_value(one.get("value"), VALUE_DEPTH_MAX)
        for one in _objects(value, ATTRIBUTES_MAX)
        if "key" in one
    }


def _json_value(value: Any, depth: int) -> Any:
    if not isinstance(value, Mapping) or depth == 0:
        return None
    match next(iter(value.items()), (None, None)):
        case ("intValue", held):
            if isinstance(held, float) and held.is_integer():
                return int(held)
            number = held if isinstance(held, str) else str(held)
            return int(number[:20]) if number.isascii() and number.removeprefix("-").isdigit() else None
        case ("stringValue" | "boolValue" | "doubleValue" | "bytesValue", held):
            return held
        case ("arrayValue", Mapping() as held):
            return [_json_value(one, depth - 1) for one in _objects(held.get("values"))]
        case ("kvlistValue", Mapping() as held):
            return {
                str(one.get("key")): _json_value(one.get("value"), depth - 1) for one in _objects(held.get("values"))
            }
        case _:
            return None


# --- protobuf ---------------------------------------------------------------------------------------------------------
def _walk_protobuf(request: Any) -> Iterable[Raw]:
    for resource in request.resource_spans:
        shared = _protobuf_attributes(resource.resource.attributes)
        for scoped in resource.scope_spans:
            scope = {"name": as_storable(scoped.scope.name), "version": as_storable(scoped.scope.version)}
            for span in scoped.spans:
                yield shared, scope, _protobuf_span(span)


def _protobuf_span(span: Any) -> Mapping[str, Any]:
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "name": as_storable(span.name),
        "kind": KINDS[span.kind] if 0 <= span.kind < len(KINDS) else span.kind,
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano,
        "attributes": _protobuf_attributes(span.attributes),
        "status": {"code": span.status.code, "message": as_storable(span.status.message)},
        "events": [
            {
                "name": as_storable(event.name),
                "timeUnixNano": str(event.time_unix_nano),
                "attributes": _protobuf_attributes(event.attributes),
            }
            for event in span.events[:EVENTS_MAX]
        ],
        "links": [{"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()} for link in span.links[:EVENTS_MAX]],
    }


def _protobuf_attributes(found: Any) -> dict[str, Any]:
    return {as_storable(one.key): _protobuf_value(one.value, VALUE_DEPTH_MAX) for one in found[:ATTRIBUTES_MAX]}


def _protobuf_value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth == 0:
        return None
    held = getattr(value, kind)
    match kind:
        case "array_value":
            return [_protobuf_value(one, depth - 1) for one in held.values]
        case "kvlist_value":
            return {as_storable(one.key): _protobuf_value(one.value, depth - 1) for one in held.values}
        case "bytes_value":
            return base64.b64encode(held).decode()
        case "string_value":
            return as_storable(held)
        case _:
            return held
