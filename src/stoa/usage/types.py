"""Sums over the lines of the bill."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects model calls; None matches any. `start` is inclusive, `end` exclusive."""

    start: datetime
    end: datetime
    project_id: UUID | None = None
    key_id: UUID | None = None
    conversation_id: UUID | None = None
    run_id: UUID | None = None
    model: str | None = None
    user_id: str | None = None
    kind: str | None = None
    knowledgebase_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """`of` has the values of the fields that were grouped by. `cost_usd` does not include the `unpriced_calls`."""

    of: Mapping[str, Any]
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: float
    estimated_calls: int
    unpriced_calls: int


class Granularity(StrEnum):
    """What is read in a span: sums of whole hours or days (UTC), or the lines of the bill."""

    LINE = "line"
    HOUR = "hour"
    DAY = "day"


class Sums(StrEnum):
    """Which sums a report reads: those of each project and key, or of all projects, by key or of all keys."""

    PROJECTS = "projects"
    KEYS = "keys"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class Span:
    """`start` is inclusive, `end` exclusive."""

    width: Granularity
    start: datetime
    end: datetime
