"""Spans and traces. A span is one step of a program; a trace is all spans that share a trace id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Wire = Literal["sdk", "otlp", "stoa"]
"""Who wrote a span: the platform's SDK, OpenTelemetry, or a run of this server."""


@dataclass(frozen=True, slots=True)
class Span:
    """`status` and `ended_at` are None while it is not finished. `body` is the span as it was sent."""

    trace_id: str
    id: str
    parent_id: str | None
    wire: Wire
    name: str
    type: str
    status: str | None
    started_at: datetime
    ended_at: datetime | None
    body: Mapping[str, Any]
    source_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A span that cannot be stored: its index in the request, the invalid field, and why."""

    index: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The spans of a request, and those that were rejected."""

    spans: Sequence[Span]
    rejected: Sequence[Rejected] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    id: str
    project_id: UUID
    wire: Wire
    name: str
    status: str | None
    started_at: datetime
    ended_at: datetime | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    models: Sequence[str]
    tags: Sequence[str]
    span_count: int
    root_count: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    conversation_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects traces; a field that is None matches all."""

    started_from: datetime | None = None
    started_to: datetime | None = None
    status: Sequence[str] = field(default_factory=tuple[str, ...])
    name: str | None = None
    model: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    tag: str | None = None
    source_id: str | None = None
    wire: Sequence[str] = field(default_factory=tuple[str, ...])
    project_id: UUID | None = None
    cost_usd_min: float | None = None
    cost_usd_max: float | None = None
    seconds_min: float | None = None
    seconds_max: float | None = None
    words: Sequence[str] = field(default_factory=tuple[str, ...])
    """Each word occurs somewhere in one step: in its name, input, output, error or attributes."""


@dataclass(frozen=True, slots=True)
class Place:
    """A trace's position in the list, as a cursor holds it."""

    started_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of traces. `read_on` is where the list continues: behind the last trace, or behind the last row that was
    read where the reading limit was reached."""

    traces: Sequence[Trace]
    read_on: Place | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Traces with the same values of `group`."""

    group: Mapping[str, str | None]
    traces: int
    failed: int
    running: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds_p50: float | None
    seconds_p90: float | None
    seconds_p95: float | None
    seconds_p99: float | None
    seconds_max: float | None


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where a project's runs are exported to. `headers` None keeps the stored ones."""

    url: str
    headers: Mapping[str, str] | None = None
    content: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ExportState:
    """The state of an export. `failures` counts consecutive ones."""

    until: datetime
    spans: int
    refused: int
    failures: int
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """A project's trace settings. `retention_days` None: the server's default."""

    project_id: UUID
    retention_days: float | None
    kept_forever: bool
    export: ExportSettings | None
    state: ExportState | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a project's trace settings."""

    retention_days: float | None
    kept_forever: bool
    export: ExportSettings | None


@dataclass(frozen=True, slots=True)
class JournalEvent:
    sequence: int
    type: int
    timestamp: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a model, from its first delta to its last. `source` and `call` name the speaker where it is a node
    or a subagent."""

    source: str | None
    call: str | None
    iteration: int
    first_sequence: int
    last_sequence: int
    begun_at: datetime
    ended_at: datetime

    @property
    def key(self) -> tuple[str | None, str | None, int]:
        return self.source, self.call, self.iteration


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A line of the bill."""

    id: str
    model: str
    at: datetime
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A line of the ledger of tools."""

    id: str
    name: str
    kind: str
    status: str
    begun_at: datetime
    settled_at: datetime | None
    input: Any
    result: str | None
    error: Any


@dataclass(frozen=True, slots=True)
class OwnRun:
    id: str
    name: str
    status: str | None
    created_at: datetime
    ended_at: datetime | None
    input: Any
    output: Any
    error: Any
    user_id: str | None
    session_id: str | None
    source_id: str | None
    attempt: int
