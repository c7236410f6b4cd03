"""Spans and traces, between rows and values."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
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
    """Spans and the rows of their traces, in step."""
    trace_ids = sorted({span.trace_id for span in spans})
    await tx.execute(SQL.claim_traces, org_id, project_id, trace_ids, spans[0].wire)
    await tx.execute(SQL.store_spans, org_id, project_id, _document(spans))
    await tx.execute(SQL.sum_up_traces, org_id, project_id, trace_ids)


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
