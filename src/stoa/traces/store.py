"""Spans and traces, between rows and values."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.traces import sums
from stoa.traces.types import Filter, Span, Trace

SQL: Final = load("stoa.traces")
COUNTED_AHEAD_MAX: Final = 1_000
"""Traces after a page that its `total_count` counts: a count of all would read all."""
WIRES: Final = ("sdk", "otlp", "stoa")
_OWN_STATUS: Final = (
    "CASE r.status WHEN 'completed' THEN 'succeeded' WHEN 'failed' THEN 'failed' WHEN 'canceled' THEN 'canceled' END"
)
"""A run's status in the words of traces; NULL while it is not finished."""
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def own(statement: str) -> str:
    """`{own_status}` filled in."""
    return statement.replace("{own_status}", _OWN_STATUS)


async def store_spans(tx: Tx, org_id: UUID, project_id: UUID, spans: Sequence[Span]) -> None:
    """Spans and the rows of their traces, in step. The spans are distinct."""
    by_trace = _by_trace(spans)
    made = [_sums_document(trace_id, sums.of(its)) for trace_id, its in by_trace.items()]
    known = {row["id"]: row for row in await tx.fetch(SQL.claim_traces, org_id, project_id, made, spans[0].wire)}
    if not known:
        await tx.execute(SQL.store_spans, org_id, project_id, _document(spans))
        return
    again = [span for span in spans if span.trace_id in known]
    ids = [span.trace_id for span in again], [span.id for span in again]
    rows = await tx.fetch(SQL.stored_spans, org_id, project_id, *ids)
    stored = {(row["trace_id"], row["id"]): _stored(row) for row in rows}
    # A finished span is not replaced by an earlier report of itself.
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
    """A trace's row after these spans; None where only all of its spans can tell."""
    new: list[Span] = []
    for span in spans:
        before = stored.get((span.trace_id, span.id))
        if before is None:
            new.append(span)
        elif row is not None:
            row = sums.replaced(row, before, span)
    return sums.added(row, new) if new and row is not None else row


def _sums(row: Row) -> sums.Sums | None:
    """None for a row that a version before these columns has made."""
    if row["head_id"] is None:
        return None
    return sums.Sums(
        name=row["name"],
        tags=row["tags"],
        head_id=row["head_id"],
        head_started_at=row["head_started_at"],
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


def _stored(row: Row) -> sums.Stored:
    return sums.Stored(
        parent_id=row["parent_id"],
        name=row["name"],
        status=row["status"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        source_id=row["source_id"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        model=row["model"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usd=row["cost"],
        tags=row["tags"],
    )


def _sums_document(trace_id: str, found: sums.Sums) -> Any:
    return {
        "id": trace_id,
        "name": found.name,
        "tags": list(found.tags),
        "head_id": found.head_id,
        "head_started_at": found.head_started_at,
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
    """The spans as one JSON document, which PostgreSQL takes apart. It holds no NUL: no text of PostgreSQL does."""
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


async def list_traces(
    tx: Tx, org_id: UUID, project_id: UUID, which: Filter, page: PageRequest
) -> tuple[Sequence[Trace], int]:
    """A page, and how many there are: counted up to 1,000 after the page."""
    statement = own(SQL.list_traces)
    arguments = (
        org_id,
        project_id,
        which.started_from,
        which.started_to,
        list(which.status) or None,
        _like(which.name),
        which.model,
        which.user_id,
        which.session_id,
        which.tag,
        which.source_id,
        which.cost_usd_min,
        which.seconds_min,
        list(which.wire or WIRES),
    )
    rows = await tx.fetch(statement, *arguments, page.page_size, page.offset)
    if len(rows) < page.page_size and (rows or page.page == 1):
        return [trace(row) for row in rows], page.offset + len(rows)
    counted = await tx.fetchval(
        f"SELECT count(*) FROM ({statement}) counted",  # noqa: S608 — a named statement
        *arguments,
        page.offset + page.page_size + COUNTED_AHEAD_MAX,
        0,
    )
    return [trace(row) for row in rows], counted


def _like(text: str | None) -> str | None:
    """A pattern for any name that holds `text`."""
    if text is None:
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def trace(row: Row) -> Trace:
    return Trace(
        id=row["id"],
        project_id=row["project_id"],
        wire=row["wire"],
        name=row["name"],
        status=row["status"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        source_id=row["source_id"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        models=row["models"],
        tags=row["tags"],
        span_count=row["span_count"],
        root_count=row["root_count"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usd=float(row["cost_usd"]) if row["cost_usd"] is not None else None,
        conversation_id=row["conversation_id"],
    )


def span(row: Row) -> Span:
    return Span(
        trace_id=row["trace_id"],
        id=row["id"],
        parent_id=row["parent_id"],
        wire=row["wire"],
        name=row["name"],
        type=row["type"],
        status=row["status"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        body=row["body"],
        source_id=row["source_id"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        model=row["model"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usd=row["cost"],
        tags=row["tags"],
    )


def own_spans(run_id: UUID, run: Row, calls: Sequence[Row]) -> Sequence[Span]:
    """A run of Stoa's own: its root, and a span for each call of a model or a tool."""
    trace_id = str(run_id)
    root = Span(
        trace_id=trace_id,
        id=trace_id,
        parent_id=None,
        wire="stoa",
        name="Answer",
        type="workflow",
        status=run["status"],
        started_at=run["created_at"],
        ended_at=run["ended_at"],
        body={"input": run["input"], "output": run["output"], "error": run["error"]},
        user_id=run["user_id"],
    )
    return [root, *(_own_call(trace_id, run, call) for call in calls)]


def _own_call(trace_id: str, run: Row, call: Row) -> Span:
    body: Mapping[str, Any] = {"input": call["input"], "output": call["output"], "error": call["error"]}
    return Span(
        trace_id=trace_id,
        id=f"{call['kind']}-{call['id']}",
        parent_id=trace_id,
        wire="stoa",
        name=call["name"],
        type="node",
        status=call["status"],
        started_at=call["started_at"] or run["created_at"],
        ended_at=call["ended_at"],
        body=body,
        model=call["name"] if call["kind"] == "llm" else None,
        prompt_tokens=call["prompt_tokens"],
        completion_tokens=call["completion_tokens"],
        cost_usd=call["cost_usd"],
    )


def without_nul(body: bytes) -> bytes:
    """JSON text without the escape of NUL, which jsonb refuses. An escaped backslash before `u0000` stays."""
    return _NUL.sub(rb"\1\\ufffd", body) if b"\\u0000" in body else body


def parsed(body: bytes) -> Any:
    """JSON as PostgreSQL can hold it: without NUL and without lone surrogates. Raises ValueError."""
    return orjson.loads(without_nul(body))
