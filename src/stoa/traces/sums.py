"""Computes the row of a trace from its spans: pure. `added` updates the existing row, so that a request costs only its
own spans, however many the trace has. `sum_up_traces` in queries.sql computes the same from all spans
(tests/slice/traces compares both).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from stoa.traces.types import Span

NAMES_MAX: Final = 100
"""The limit of models that a trace's row names."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The computed fields of a trace's row. `head` is the span that gives the name and the tags: the first root, or the
    first span while no root has arrived."""

    name: str
    tags: Sequence[str]
    head_id: str
    head_started_at: datetime
    head_status: str | None
    started_at: datetime
    last_ended_at: datetime | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    models: Sequence[str]
    span_count: int
    root_count: int
    open_count: int
    failed_root_count: int
    canceled_root_count: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None

    @property
    def status(self) -> str | None:
        """None while a span is not finished."""
        if self.open_count:
            return None
        if not self.root_count:  # The root belongs to another program, which sends its spans elsewhere.
            return self.head_status if self.head_status in ("failed", "canceled") else "succeeded"
        return "failed" if self.failed_root_count else "canceled" if self.canceled_root_count else "succeeded"

    @property
    def ended_at(self) -> datetime | None:
        return None if self.open_count else self.last_ended_at


@dataclass(frozen=True, slots=True)
class Stored:
    """What a trace's row was computed from, of one stored span."""

    parent_id: str | None
    name: str
    status: str | None
    started_at: datetime
    ended_at: datetime | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    tags: Sequence[str]


def of(spans: Sequence[Span]) -> Sums:
    """The row of a trace that has exactly these spans; at least one."""
    return added(None, spans)


def added(row: Sums | None, spans: Sequence[Span]) -> Sums:
    """The row after new spans of its trace."""
    head = min(spans, key=lambda span: (span.parent_id is not None, span.started_at, span.id))
    ended = [span.ended_at for span in spans if span.ended_at is not None]
    models = {span.model for span in spans if span.model is not None}
    roots = [span for span in spans if span.parent_id is None]
    priced = [span.cost_usd for span in spans if span.cost_usd is not None]
    own = Sums(
        name=head.name,
        tags=head.tags,
        head_id=head.id,
        head_started_at=head.started_at,
        head_status=head.status,
        started_at=min(span.started_at for span in spans),
        last_ended_at=max(ended, default=None),
        source_id=_largest([span.source_id for span in spans]),
        session_id=_largest([span.session_id for span in spans]),
        user_id=_largest([span.user_id for span in spans]),
        models=sorted(models)[:NAMES_MAX],
        span_count=len(spans),
        root_count=len(roots),
        open_count=sum(span.ended_at is None for span in spans),
        failed_root_count=sum(span.status == "failed" for span in roots),
        canceled_root_count=sum(span.status == "canceled" for span in roots),
        prompt_tokens=sum(span.prompt_tokens or 0 for span in spans),
        completion_tokens=sum(span.completion_tokens or 0 for span in spans),
        cost_usd=sum(priced) if priced else None,
    )
    return own if row is None else _together(row, own)


def _together(row: Sums, new: Sums) -> Sums:
    head = min(row, new, key=lambda one: (one.root_count == 0, one.head_started_at, one.head_id))
    costs = [one.cost_usd for one in (row, new) if one.cost_usd is not None]
    ends = [one.last_ended_at for one in (row, new) if one.last_ended_at is not None]
    return Sums(
        name=head.name,
        tags=head.tags,
        head_id=head.head_id,
        head_started_at=head.head_started_at,
        head_status=head.head_status,
        started_at=min(row.started_at, new.started_at),
        last_ended_at=max(ends, default=None),
        source_id=_largest([row.source_id, new.source_id]),
        session_id=_largest([row.session_id, new.session_id]),
        user_id=_largest([row.user_id, new.user_id]),
        models=sorted({*row.models, *new.models})[:NAMES_MAX],
        span_count=row.span_count + new.span_count,
        root_count=row.root_count + new.root_count,
        open_count=row.open_count + new.open_count,
        failed_root_count=row.failed_root_count + new.failed_root_count,
        canceled_root_count=row.canceled_root_count + new.canceled_root_count,
        prompt_tokens=row.prompt_tokens + new.prompt_tokens,
        completion_tokens=row.completion_tokens + new.completion_tokens,
        cost_usd=sum(costs) if costs else None,
    )


def replaced(row: Sums, old: Stored, new: Span) -> Sums | None:
    """The row after a span that it counts was sent again; None where only all spans together can tell."""
    same = (old.parent_id is None) == (new.parent_id is None) and old.started_at == new.started_at
    about = ((old.source_id, new.source_id), (old.session_id, new.session_id), (old.user_id, new.user_id))
    told = (*about, (old.model, new.model))
    kept = all(before is None or before == after for before, after in told)
    later = old.ended_at is None or (new.ended_at is not None and new.ended_at >= old.ended_at)
    if not (same and kept and later) or (old.cost_usd is not None and new.cost_usd is None):
        return None
    cost = None if row.cost_usd is None and new.cost_usd is None else (row.cost_usd or 0.0) + (new.cost_usd or 0.0)
    is_root, is_head = new.parent_id is None, new.id == row.head_id
    ends = [moment for moment in (row.last_ended_at, new.ended_at) if moment is not None]
    return replace(
        row,
        name=new.name if is_head else row.name,
        tags=new.tags if is_head else row.tags,
        head_status=new.status if is_head else row.head_status,
        last_ended_at=max(ends, default=None),
        source_id=_largest([row.source_id, new.source_id]),
        session_id=_largest([row.session_id, new.session_id]),
        user_id=_largest([row.user_id, new.user_id]),
        models=sorted({*row.models, *({new.model} if new.model else ())})[:NAMES_MAX],
        open_count=row.open_count + (new.ended_at is None) - (old.ended_at is None),
        failed_root_count=row.failed_root_count + is_root * ((new.status == "failed") - (old.status == "failed")),
        canceled_root_count=row.canceled_root_count
        + is_root * ((new.status == "canceled") - (old.status == "canceled")),
        prompt_tokens=row.prompt_tokens + (new.prompt_tokens or 0) - (old.prompt_tokens or 0),
        completion_tokens=row.completion_tokens + (new.completion_tokens or 0) - (old.completion_tokens or 0),
        cost_usd=None if cost is None else cost - (old.cost_usd or 0.0),
    )


def _largest(texts: Sequence[str | None]) -> str | None:
    """The largest by code points, as PostgreSQL's collation "C" compares."""
    return max((text for text in texts if text is not None), default=None)
