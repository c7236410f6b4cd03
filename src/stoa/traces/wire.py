"""The JSON shapes of traces."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from stoa.http import Timestamp, Wire
from stoa.traces.types import Rejected, Span, Trace


class RejectedWire(Wire):
    """A run of the request that was not stored: its place in `runs`, the field that is wrong, and why."""

    index: int
    field: str
    reason: str


class StoredWire(Wire):
    message: Literal["ok"]
    rejected: Sequence[RejectedWire] | None


class TraceWire(Wire):
    """`status` is left out while something of the trace is not finished. `wire` says who wrote it: the platform's SDK,
    OpenTelemetry, or a run of this server."""

    id: str
    project_id: UUID
    wire: Literal["sdk", "otlp", "stoa"]
    name: str
    status: Literal["succeeded", "failed", "skipped", "canceled"] | None
    start_time: Timestamp
    end_time: Timestamp | None
    duration_seconds: float | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    models: Sequence[str]
    tags: Sequence[str]
    run_count: int
    root_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    conversation_id: UUID | None


class SpanWire(Wire):
    """A step of a trace, in the shape in which the platform's SDK sends it."""

    id: str
    name: str
    type: str
    trace_id: str
    parent_run_id: str | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    status: str | None
    start_time: Timestamp
    end_time: Timestamp | None
    input: Any | None
    output: Any | None
    error: Any | None
    metadata: Mapping[str, Any] | None
    executions: Sequence[Any] | None
    tags: Sequence[str]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    attributes: Mapping[str, Any] | None
    """Of OpenTelemetry: as they were sent, whatever of them is understood."""


class FullTraceWire(Wire):
    id: str
    runs: Sequence[SpanWire]


def stored(rejected: Sequence[Rejected]) -> StoredWire:
    """`rejected` is left out when there is nothing in it."""
    return StoredWire(
        message="ok",
        rejected=[RejectedWire(index=one.index, field=one.field, reason=one.reason) for one in rejected] or None,
    )


def trace(found: Trace) -> TraceWire:
    seconds = (found.ended_at - found.started_at).total_seconds() if found.ended_at else None
    return TraceWire(
        id=found.id,
        project_id=found.project_id,
        wire=found.wire,
        name=found.name,
        status=found.status,  # type: ignore[arg-type]
        start_time=found.started_at,
        end_time=found.ended_at,
        duration_seconds=seconds,
        source_id=found.source_id,
        session_id=found.session_id,
        user_id=found.user_id,
        models=found.models,
        tags=found.tags,
        run_count=found.span_count,
        root_count=found.root_count,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        total_tokens=found.prompt_tokens + found.completion_tokens,
        cost_usd=found.cost_usd,
        conversation_id=found.conversation_id,
    )


def span(found: Span, attributes_input: Any = None, attributes_output: Any = None) -> SpanWire:
    """`attributes_input` and `attributes_output` are what an instrumentation calls its input and output."""
    body = found.body
    return SpanWire(
        id=found.id,
        name=found.name,
        type=found.type,
        trace_id=found.trace_id,
        parent_run_id=found.parent_id,
        source_id=found.source_id,
        session_id=found.session_id,
        user_id=found.user_id,
        status=found.status,
        start_time=found.started_at,
        end_time=found.ended_at,
        input=body.get("input", attributes_input),
        output=body.get("output", attributes_output),
        error=body.get("error"),
        metadata=body.get("metadata"),
        executions=body.get("executions"),
        tags=found.tags,
        model=found.model,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cost_usd=found.cost_usd,
        attributes=body.get("attributes"),
    )
