"""Writes spans, and updates the rows of their traces in the same transaction."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from stoa.db import Row, Tx
from stoa.traces import sums
from stoa.traces.store import SQL, columns
from stoa.traces.types import Span


async def store_spans(tx: Tx, org_id: UUID, project_id: UUID, spans: Sequence[Span]) -> None:
    """Stores spans and updates their traces' rows. The spans are distinct."""
    by_trace = _by_trace(spans)
    made = [_sums_document(trace_id, sums.of(its)) for trace_id, its in by_trace.items()]
    known = {row["id"]: row for row in await tx.fetch(SQL.claim_traces, org_id, project_id, made, spans[0].wire)}
    if not known:
        await tx.execute(SQL.store_spans, org_id, project_id, _document(spans))
        return
    again = [span for span in spans if span.trace_id in known]
    ids = [span.trace_id for span in again], [span.id for span in again]
    rows = await tx.fetch(SQL.stored_spans, org_id, project_id, *ids)
    stored = {(row["trace_id"], row["id"]): sums.Stored(**columns(row)) for row in rows}
    # A finished span is not replaced by an earlier, unfinished report of itself.
    kept = [
        span
        for span in spans
        if span.ended_at is not None
        or (before := stored.get((span.trace_id, span.id))) is None
        or before.ended_at is None
    ]
    changed: list[Any] = []
    unclear: list[str] = []
    for trace_id, its in _by_trace([span for span in kept if span.trace_id in known]).items():
        row = _gone_on(_sums(known[trace_id]), its, stored)
        if row is None:
            unclear.append(trace_id)
        else:
            changed.append(_sums_document(trace_id, row))
    if kept:
        await tx.execute(SQL.store_spans, org_id, project_id, _document(kept))
    if changed:
        await tx.execute(SQL.update_traces, org_id, project_id, changed)
    if unclear:
        await tx.execute(SQL.sum_up_traces, org_id, project_id, unclear)


def _by_trace(spans: Sequence[Span]) -> Mapping[str, Sequence[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.trace_id, []).append(span)
    return found


def _gone_on(
    row: sums.Sums | None, spans: Sequence[Span], stored: Mapping[tuple[str, str], sums.Stored]
) -> sums.Sums | None:
    """A trace's row after these spans; None where it must be recomputed from all spans."""
    new: list[Span] = []
    for span in spans:
        before = stored.get((span.trace_id, span.id))
        if before is None:
            new.append(span)
        elif row is not None:
            row = sums.replaced(row, before, span)
    return sums.added(row, new) if new and row is not None else row


def _sums(row: Row) -> sums.Sums | None:
    """None for a row that was written by a version before these columns."""
    if row["head_id"] is None:
        return None
    return sums.Sums(
        name=row["name"],
        tags=row["tags"],
        head_id=row["head_id"],
        head_started_at=row["head_started_at"],
        head_status=row["head_status"],
        started_at=row["started_at"],
        last_ended_at=row["last_ended_at"],
        source_id=row["source_id"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        models=row["models"],
        span_count=row["span_count"],
        root_count=row["root_count"],
        open_count=row["open_count"],
        failed_root_count=row["failed_root_count"],
        canceled_root_count=row["canceled_root_count"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usd=row["cost"],
    )


def _sums_document(trace_id: str, found: sums.Sums) -> Any:
    return {
        "id": trace_id,
        "name": found.name,
        "tags": list(found.tags),
        "head_id": found.head_id,
        "head_started_at": found.head_started_at,
        "head_status": found.head_status,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "last_ended_at": found.last_ended_at,
        "status": found.status,
        "source_id": found.source_id,
        "session_id": found.session_id,
        "user_id": found.user_id,
        "models": list(found.models),
        "span_count": found.span_count,
        "root_count": found.root_count,
        "open_count": found.open_count,
        "failed_root_count": found.failed_root_count,
        "canceled_root_count": found.canceled_root_count,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost_usd": found.cost_usd,
    }


def _document(spans: Sequence[Span]) -> Any:
    """The spans as one JSON document, which PostgreSQL unpacks. It contains no NUL, which PostgreSQL cannot store in
    text."""
    return [
        {
            "trace_id": span.trace_id,
            "id": span.id,
            "parent_id": span.parent_id,
            "wire": span.wire,
            "name": span.name,
            "type": span.type,
            "status": span.status,
            "started_at": span.started_at.isoformat(),
            "ended_at": span.ended_at.isoformat() if span.ended_at else None,
            "source_id": span.source_id,
            "session_id": span.session_id,
            "user_id": span.user_id,
            "model": span.model,
            "prompt_tokens": span.prompt_tokens,
            "completion_tokens": span.completion_tokens,
            "cost_usd": span.cost_usd,
            "tags": list(span.tags),
            "body": span.body,
        }
        for span in spans
    ]
