"""The collector's route: spans of other programs, as the platform's SDK and OpenTelemetry send them (contract section
9)."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from stoa.http import Gate, Routes, errors, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import BodyLimit, allow
from stoa.kernel.errors import AppError, BadRequest, TooLarge, Unauthorized, UnsupportedMediaType
from stoa.traces import otlp, parsing, rules, wire
from stoa.traces.service import Collector
from stoa.traces.types import Batch, Rejected

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""The limit applies to the request as it is sent, and again to what a compressed one unpacks to."""
PARSED_HERE_BYTES_MAX: Final = 64 * 1024
"""A larger body is parsed on a thread."""
PROTOBUF: Final = "application/x-protobuf"
PROTOBUFS: Final = (PROTOBUF, "application/protobuf", "application/vnd.google.protobuf")
CODES: Final[Mapping[int, int]] = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 429: 8, 503: 14}
UNKNOWN: Final = 2
"""google.rpc.Code by status: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED …"""
CODINGS: Final = ("gzip", "deflate")
_EITHER_FRAME: Final = 32 + zlib.MAX_WBITS
_GZIP: Final = 0x1F8B
_TOO_LARGE: Final = f"The body is over the limit of {BODY_BYTES_MAX >> 20} MiB; send fewer spans at once."
_TOO_MANY: Final = f"A request may hold {rules.SPANS_MAX} spans; send fewer at once."
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
        protobuf, also compressed with gzip or deflate. They are committed when this answers. One that is wrong is
        named and left out; the others are stored. Needs the key of a project."""
        protobuf = request.headers.get("content-type", "").split(";")[0].strip().lower() in PROTOBUFS
        try:
            principal = await gate.admit(request, bearer_token(request), "traces:write")
            if principal.project_id is None:
                raise Unauthorized("The collector takes the key of a project; this one is organization-wide.")
            allow(request.scope, BodyLimit(BODY_BYTES_MAX))
            coding = _coding(request)
            body = await _body(request)
            batch, speaks_otlp = await _read(body, protobuf=protobuf, coding=coding)
            await collector.store(principal, principal.project_id, batch)
        except AppError as refusal:
            return _refused(refusal, protobuf=protobuf)
        if protobuf:
            return Response(otlp.answer_protobuf(len(batch.rejected), _summary(batch.rejected)), media_type=PROTOBUF)
        if speaks_otlp:
            return _otlp_json(batch.rejected)
        answer = wire.stored(batch.rejected).model_dump(mode="json", exclude_none=True)
        return Response(orjson.dumps(answer), media_type="application/json")

    return router


def _coding(request: Request) -> str:
    """Returns `gzip`, `deflate` or an empty string. Raises UnsupportedMediaType, which lists the accepted codings (RFC
    9110, 15.5.16)."""
    named = [name.strip().lower() for name in request.headers.get("content-encoding", "").split(",")]
    codings = [name.removeprefix("x-") for name in named if name not in ("identity", "")]
    if len(codings) > 1 or (codings and codings[0] not in CODINGS):
        refusal = UnsupportedMediaType(
            f"Content-Encoding {', '.join(codings)[:50]} is not taken here; send gzip or deflate, or nothing."
        )
        refusal.headers["Accept-Encoding"] = ", ".join(CODINGS)
        raise refusal
    return codings[0] if codings else ""


async def _body(request: Request) -> bytes:
    """The body as it was sent. Stops reading and raises TooLarge at the limit."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(_TOO_LARGE)
    return bytes(body)


def _unpacked(body: bytes, coding: str) -> bytes:
    """Unpacks every member of a gzip file, or a zlib stream (deflate); also raw deflate, which some clients send. Stops
    unpacking and raises TooLarge at the limit."""
    found, left = bytearray(), body
    bare = coding == "deflate" and not _framed(body)
    while left:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS if bare else _EITHER_FRAME)
        try:
            found += unpack.decompress(left, BODY_BYTES_MAX + 1 - len(found))
        except zlib.error as error:
            raise BadRequest.field("body", "is not compressed as Content-Encoding says") from error
        if len(found) > BODY_BYTES_MAX:
            raise TooLarge(_TOO_LARGE)
        if not unpack.eof:
            raise BadRequest.field("body", "is compressed, and ends early")
        left = unpack.unused_data
        if not left.strip(b"\0"):  # Some writers pad with zeros.
            break
    return bytes(found)


def _framed(body: bytes) -> bool:
    """Whether the body begins with the header of gzip, or with that of RFC 1950: two bytes that are a multiple of
    31."""
    head = int.from_bytes(body[:2], "big")
    return head == _GZIP or (body[:1] != b"" and body[0] & 0x0F == zlib.DEFLATED and head % 31 == 0)


async def _read(body: bytes, *, protobuf: bool, coding: str) -> tuple[Batch, bool]:
    """The spans, and whether the request is OTLP. Raises BadRequest when none of them can be stored."""

    def parse() -> tuple[Batch, bool]:
        plain = _unpacked(body, coding) if coding else body
        return _parse_protobuf(plain) if protobuf else _parse_json(plain)

    if len(body) <= (PARSED_HERE_BYTES_MAX >> 4 if coding else PARSED_HERE_BYTES_MAX):
        batch, speaks_otlp = parse()
    else:
        batch, speaks_otlp = await asyncio.to_thread(parse)
    if not speaks_otlp and batch.rejected and not batch.spans:
        details = {f"runs[{one.index}]{f'.{one.field}' if one.field else ''}": one.reason for one in batch.rejected}
        raise BadRequest("No run of this request can be stored.", details=details)
    return batch, speaks_otlp


def _parse_protobuf(body: bytes) -> tuple[Batch, bool]:
    try:
        return otlp.read_protobuf(body), True
    except otlp.TooMany as error:
        raise TooLarge(_TOO_MANY) from error
    except otlp.Malformed as error:
        raise BadRequest.field("body", str(error)) from error


def _parse_json(body: bytes) -> tuple[Batch, bool]:
    try:
        document = parsing.parsed(body)
    except ValueError as error:
        raise BadRequest.field("body", "is not valid JSON") from error
    if isinstance(document, dict) and "resourceSpans" in document:
        try:
            return otlp.read_json(document), True
        except otlp.TooMany as error:
            raise TooLarge(_TOO_MANY) from error
        except otlp.Malformed as error:
            raise BadRequest.field("body", str(error)) from error
    runs = document.get("runs") if isinstance(document, dict) else None
    if not isinstance(runs, list):
        raise BadRequest.field("runs", "is required, and must be a list")
    if len(runs) > rules.SPANS_MAX:
        raise TooLarge(f"A request may hold {rules.SPANS_MAX} runs; this one has {len(runs)}.")
    return rules.read_runs(runs), False


def _summary(rejected: Sequence[Rejected]) -> str:
    return "; ".join(f"span {one.index}: {one.field} {one.reason}" for one in rejected[:10])


def _otlp_json(rejected: Sequence[Rejected]) -> Response:
    """ExportTraceServiceResponse: an empty object when everything was stored."""
    partial = {"partialSuccess": {"rejectedSpans": str(len(rejected)), "errorMessage": _summary(rejected)}}
    return Response(orjson.dumps(partial if rejected else {}), media_type="application/json")


def _refused(refusal: AppError, *, protobuf: bool) -> Response:
    """A refusal in OTLP's form: google.rpc.Status in the content type of the request. The JSON form also has this API's
    error envelope, which the platform's SDK reads."""
    ready = errors.response(refusal)
    code = CODES.get(refusal.status, UNKNOWN)
    if protobuf:
        headers = {name: value for name, value in ready.headers.items() if not name.startswith("content-")}
        return Response(otlp.status_protobuf(code, refusal.message), refusal.status, headers, PROTOBUF)
    said = orjson.loads(bytes(ready.body)) | {"code": code, "message": refusal.message}
    headers = {name: value for name, value in ready.headers.items() if name != "content-length"}
    return Response(orjson.dumps(said), refusal.status, headers, "application/json")
