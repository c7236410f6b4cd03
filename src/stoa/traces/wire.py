"""The JSON shapes of traces."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from stoa.http import Body, Timestamp, Wire
from stoa.traces.differences import Pair
from stoa.traces.types import Aggregate, Change, ExportSettings, Rejected, Span, Trace, TraceSettings


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


class DeletedTraceWire(Wire):
    message: Literal["deleted"]
    deletion_id: UUID


class SecondsWire(Wire):
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class AggregateWire(Wire):
    """Traces with the same values of what is grouped by: `group` holds them, left out where a trace has none."""

    group: Mapping[str, str]
    traces: int
    failed: int
    running: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    seconds: SecondsWire | None


class AggregatesWire(Wire):
    groups: Sequence[AggregateWire]


class ComparedWire(Wire):
    """A step in one of both traces."""

    id: str
    status: str | None
    duration_seconds: float | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None


class PairWire(Wire):
    """A step that both traces have, or one of them; `changed` names what differs. Times are not compared."""

    depth: int
    name: str
    type: str
    change: Literal["same", "changed", "removed", "added"]
    changed: Sequence[str]
    left: ComparedWire | None
    right: ComparedWire | None


class DifferenceWire(Wire):
    left_id: str
    right_id: str
    steps: Sequence[PairWire]


class ExportWire(Wire):
    """`until`: runs that ended up to then are delivered. `error` is the last failure, gone after a success."""

    url: str | None
    content: bool
    paused: bool
    until: Timestamp
    exported_spans: int
    refused_spans: int
    failures: int
    error: Mapping[str, Any] | None


class TraceSettingsWire(Wire):
    project_id: UUID
    retention_days: float | None
    keep_forever: bool
    export: ExportWire | None


class ExportBody(Body):
    """The whole URL: `https://collector.example.com/v1/traces`. `content`: inputs and outputs too."""

    url: Annotated[str, Field(min_length=1, max_length=2_000)]
    headers: Annotated[dict[str, str], Field(max_length=20)] | None = None
    content: bool = False
    paused: bool = False


class ChangeTraceSettings(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "retention_days": 90,
        "export": {"url": "https://collector.example.com/v1/traces", "headers": {"x-api-key": "secret"}},
    }

    retention_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] | None = None
    keep_forever: bool = False
    export: ExportBody | None = None


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


def aggregate(found: Aggregate) -> AggregateWire:
    seconds = None
    if found.seconds_p50 is not None:
        seconds = SecondsWire(
            p50=found.seconds_p50,
            p90=found.seconds_p90 or 0.0,
            p95=found.seconds_p95 or 0.0,
            p99=found.seconds_p99 or 0.0,
            max=found.seconds_max or 0.0,
        )
    return AggregateWire(
        group={name: value for name, value in found.group.items() if value is not None},
        traces=found.traces,
        failed=found.failed,
        running=found.running,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        total_tokens=found.prompt_tokens + found.completion_tokens,
        cost_usd=found.cost_usd,
        seconds=seconds,
    )


def _compared(found: Span | None) -> ComparedWire | None:
    if found is None:
        return None
    return ComparedWire(
        id=found.id,
        status=found.status,
        duration_seconds=(found.ended_at - found.started_at).total_seconds() if found.ended_at else None,
        model=found.model,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cost_usd=found.cost_usd,
    )


def difference(left_id: str, right_id: str, pairs: Sequence[Pair]) -> DifferenceWire:
    steps: list[PairWire] = []
    for pair in pairs:
        one = pair.left or pair.right
        assert one is not None, "a pair has a step"
        steps.append(
            PairWire(
                depth=pair.depth,
                name=one.name,
                type=one.type,
                change=pair.change,
                changed=pair.changed,
                left=_compared(pair.left),
                right=_compared(pair.right),
            )
        )
    return DifferenceWire(left_id=left_id, right_id=right_id, steps=steps)


def settings(found: TraceSettings) -> TraceSettingsWire:
    export, state = found.export, found.state
    return TraceSettingsWire(
        project_id=found.project_id,
        retention_days=found.retention_days,
        keep_forever=found.kept_forever,
        export=ExportWire(
            url=export.url,
            content=export.content,
            paused=export.paused,
            until=state.until,
            exported_spans=state.spans,
            refused_spans=state.refused,
            failures=state.failures,
            error=state.error,
        )
        if export and state
        else None,
    )


def changed_settings(body: ChangeTraceSettings) -> Change:
    export = body.export
    return Change(
        body.retention_days,
        body.keep_forever,
        ExportSettings(export.url, export.headers, export.content, export.paused) if export else None,
    )
