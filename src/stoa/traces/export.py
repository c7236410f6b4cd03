"""Renders this server's runs as OTLP, in the names of the GenAI conventions: pure. The same run always gets the same
ids, so a receiver that gets it twice keeps it once.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import orjson

from stoa.traces.otlp import EPOCH
from stoa.traces.types import Span

CONTENT_TYPE: Final = "application/x-protobuf"
TEXT_BYTES_MAX: Final = 32 * 1024
"""The limit of one input or output. Longer ones are cut, as OTLP's own attribute limits would do."""
_OK: Final = 1
_ERROR: Final = 2
_INTERNAL: Final = 1
_CLIENT: Final = 3


def span_id(trace_id: str, own_id: str) -> bytes:
    """Eight bytes that depend on the arguments alone."""
    return hashlib.sha256(f"{trace_id}:{own_id}".encode()).digest()[:8]


@dataclass(frozen=True, slots=True)
class Exported:
    """A trace to export. `content`: with inputs, outputs and error messages."""

    spans: Sequence[Span]
    content: bool


def request(project_id: UUID, traces: Sequence[Exported]) -> bytes:
    """ExportTraceServiceRequest, gzipped: every span of these traces."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 — 60 ms, for those who export
        ExportTraceServiceRequest,
    )

    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    for name, value in (("service.name", "stoa"), ("stoa.project.id", str(project_id))):
        _attribute(resource.resource.attributes, name, value)
    scope = resource.scope_spans.add()
    scope.scope.name = "stoa.traces"
    for trace in traces:
        for span in trace.spans:
            _write(scope.spans.add(), span, content=trace.content)
    return gzip.compress(made.SerializeToString(), 5, mtime=0)


def _write(out: Any, span: Span, *, content: bool) -> None:
    out.trace_id, out.span_id = UUID(span.trace_id).bytes, span_id(span.trace_id, span.id)
    if span.parent_id is not None:
        out.parent_span_id = span_id(span.trace_id, span.parent_id)
    operation = _operation(span)
    out.name = f"{operation} {span.model or span.name}"
    out.kind = _CLIENT if operation == "chat" else _INTERNAL
    out.start_time_unix_nano = _nanoseconds(span.started_at)
    out.end_time_unix_nano = _nanoseconds(span.ended_at or span.started_at)
    error = span.body.get("error")
    out.status.code = _ERROR if span.status == "failed" else _OK
    if isinstance(error, Mapping):
        out.status.message = str(error.get("message" if content else "code") or "")[:1_000]
    for name, value in _attributes(span, operation, content=content):
        if value is not None and value != "":
            _attribute(out.attributes, name, value)


def _operation(span: Span) -> str:
    if span.parent_id is None:
        return "invoke_agent"
    if span.id.startswith(("llm-", "reply-")):
        return "chat"
    return "execute_tool" if span.id.startswith("tool-") else "invoke_agent" if span.id.startswith("agent-") else "node"


def _attributes(span: Span, operation: str, *, content: bool) -> Iterator[tuple[str, Any]]:
    about, error = span.body.get("metadata") or {}, span.body.get("error")
    yield "gen_ai.operation.name", operation if operation != "node" else None
    yield "gen_ai.request.model", span.model
    yield "gen_ai.usage.input_tokens", span.prompt_tokens
    yield "gen_ai.usage.output_tokens", span.completion_tokens
    yield "gen_ai.usage.cost", span.cost_usd
    yield "gen_ai.agent.name", span.name if operation == "invoke_agent" else None
    yield "gen_ai.tool.name", span.name if operation == "execute_tool" else None
    yield "gen_ai.tool.call.id", about.get("id") if operation == "execute_tool" else None
    yield "gen_ai.conversation.id", span.session_id
    yield "user.id", span.user_id
    yield "error.type", (str(error.get("code") or "error") if isinstance(error, Mapping) else None)
    yield "stoa.run.id", span.trace_id
    yield "stoa.span.id", span.id
    yield "stoa.app.id", span.source_id
    for name in ("first_sequence", "last_sequence", "iteration", "attempt", "type"):
        yield f"stoa.{name}", about.get(name)
    if content:
        tool = operation == "execute_tool"
        yield "gen_ai.tool.call.arguments" if tool else "input.value", _text(span.body.get("input"))
        yield "gen_ai.tool.call.result" if tool else "output.value", _text(span.body.get("output"))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text.encode()[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _attribute(into: Any, key: str, value: Any) -> None:
    one = into.add()
    one.key = key
    if isinstance(value, bool):
        one.value.bool_value = value
    elif isinstance(value, int):
        one.value.int_value = value
    elif isinstance(value, float):
        one.value.double_value = value
    else:
        one.value.string_value = str(value)


def _nanoseconds(moment: datetime) -> int:
    past = moment - EPOCH
    return ((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds) * 1_000


def rejected_of(body: bytes, content_type: str) -> tuple[int, str]:
    """(rejected spans, reason) from a receiver's 200 answer; (0, "") where it names none."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 — as above
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceResponse,
    )

    try:
        if content_type.split(";", maxsplit=1)[0].strip() == "application/json":
            partial = (orjson.loads(body or b"{}") or {}).get("partialSuccess") or {}
            return int(partial.get("rejectedSpans") or 0), str(partial.get("errorMessage") or "")
        found = ExportTraceServiceResponse.FromString(body).partial_success
        return int(found.rejected_spans), str(found.error_message)
    except (DecodeError, ValueError, AttributeError, TypeError):
        return 0, ""


def headers_of(text: str) -> Mapping[str, str]:
    """Parses `name=value,name=value`, the format of OTEL_EXPORTER_OTLP_HEADERS; values may be percent-encoded."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
