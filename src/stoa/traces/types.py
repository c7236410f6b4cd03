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
    """A span that cannot be stored: its place in the request, the field that is wrong, and why."""

    index: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What a request held."""

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
    """Which traces; None is any."""

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
    seconds_min: float | None = None
