"""Spans and traces, between rows and values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Row, Tx, load
from stoa.events import DELTAS, EventType
from stoa.traces import run_spans
from stoa.traces.types import (
    Aggregate,
    ExportSettings,
    ExportState,
    Filter,
    Listed,
    Place,
    Span,
    Trace,
    TraceSettings,
)

SQL: Final = load("stoa.traces")
SCANNED_MAX: Final = 5_000
"""The limit of traces (and of runs) that one page reads to find matches."""
SCANNED_TEXT_MAX: Final = 500
"""The same for searches of words, which read the steps: 150 ms on a busy machine (docs/decisions/0088)."""
AGGREGATED_MAX: Final = 10_000
"""One aggregate covers at most this many traces, the newest."""
DELETED_MAX: Final = 5_000
"""The limit of spans that one statement deletes: about 50 ms."""
TAILED_MAX: Final = 50
"""The limit of spans that a live tail reads at once."""
OWN_STEPS_MAX: Final = 10_000
OWN_EVENTS_MAX: Final = 20_000
OWN_PIECES_MAX: Final = 50_000
"""The limits of one run's trace: model and tool calls, events, and deltas."""
_PIECES: Final = [*DELTAS, EventType.TOOL_CALL_INPUT_DELTA]
WIRES: Final = ("sdk", "otlp", "stoa")
_OWN_STATUS: Final = (
    "CASE r.status WHEN 'completed' THEN 'succeeded' WHEN 'failed' THEN 'failed' WHEN 'canceled' THEN 'canceled' END"
)
"""A run's status in the vocabulary of traces; NULL while it is not finished."""
_OWN_NAME: Final = "coalesce(a.name, 'Answer')"
"""A run of an app has the app's name."""
_STATEMENT_PARTS: Final = (
    ("{newest_traces}", SQL.newest_traces),
    ("{sent_traces}", SQL.sent_traces),
    ("{own_runs}", SQL.own_runs),
)
"""Fragments that list statements are composed of; an earlier fragment may contain later ones."""
_PARTS: Final = re.compile(r'["\\\\]')


def own_filled(statement: str) -> str:
    """Fills in `{own_status}` and `{own_name}`."""
    return statement.replace("{own_status}", _OWN_STATUS).replace("{own_name}", _OWN_NAME)


@dataclass(frozen=True, slots=True)
class _Scope:
    """A filter that an index serves: its conditions for sent traces and for runs, with `{n}` for the parameter's
    number."""

    sent: str = ""
    own: str = ""
    number: int | None = None
    """The position of the parameter of list_traces."""
    value: str | None = None

    def within(self, statement: str, number: int | None) -> str:
        """The statement with its fragments filled in."""
        for name, part in _STATEMENT_PARTS:
            statement = statement.replace(name, part)
        sent, own = (text.replace("{n}", str(number)) for text in (self.sent, self.own))
        return own_filled(statement).replace("{sent_scope}", sent).replace("{own_scope}", own)

    def listing(self, statement: str) -> str:
        return self.within(statement, self.number)


_OF_STATUS: Final = {
    "failed": " AND r.status = 'failed'",
    "canceled": " AND r.status = 'canceled'",
    "running": (
        " AND (r.queued_at IS NULL AND r.status IN ('created', 'started', 'paused') OR r.queued_at IS NOT NULL)"
    ),
}
"""The statuses of runs for a trace's status, as indexes hold them."""


def _scope(which: Filter) -> _Scope:
    """The narrowest of the filters that an index serves. The other filters are applied to its rows."""
    for column, of_runs, number, value in (
        ("session_id", "session_id", 9, which.session_id),
        ("user_id", "user_id", 8, which.user_id),
        ("source_id", "app_id", 11, which.source_id),
    ):
        if value is None:
            continue
        if of_runs == "user_id":
            own_scope = " AND r.user_id = ${n}"
        elif _is_id(value):
            own_scope = f" AND r.{of_runs} = ${{n}}::text::uuid"
        else:  # Runs never have it; the parameter keeps its type.
            own_scope = " AND ${n}::text IS NULL"
        return _Scope(f" AND t.{column} = ${{n}}", own_scope, number, value)
    if len(set(which.status)) == 1 and (of_runs := _OF_STATUS.get(which.status[0])):
        return _Scope(" AND t.status IS DISTINCT FROM 'succeeded'", of_runs)
    return _Scope()


def _is_id(value: str) -> bool:
    """Whether the text is an id in PostgreSQL's canonical spelling, so that comparing as text and as uuid agree."""
    try:
        return str(UUID(value)) == value
    except ValueError:
        return False


async def list_traces(
    tx: Tx, org_id: UUID, project_id: UUID, which: Filter, limit: int, offset: int = 0, after: Place | None = None
) -> Listed:
    """A page of the traces behind `after`. It reads a bounded number of them, so a page may be short or even empty
    although more follow: `read_on` is where to continue."""
    scanned = offset + (SCANNED_TEXT_MAX if which.words else SCANNED_MAX)
    wires, place = list(which.wire or WIRES), _place(after)
    asked = _arguments(org_id, project_id, which, limit, offset, after, scanned)
    await tx.execute(SQL.use_indexes)
    scope = _scope(which)
    rows = await tx.fetch(scope.listing(SQL.list_traces), *asked)
    found = [trace(row) for row in rows]
    if len(found) == limit:
        return Listed(found, Place(found[-1].started_at, found[-1].id))
    until = [org_id, project_id, which.started_from, which.started_to, wires, *place, scanned]
    until += [scope.value] if scope.value is not None else []
    stopped = await tx.fetchrow(scope.within(SQL.read_until, len(until)), *until)
    if stopped is None:
        return Listed(found, None)
    end = Place(stopped["started_at"], stopped["id"])
    return Listed([one for one in found if not _behind(one, end)], end)


async def count(tx: Tx, org_id: UUID, project_id: UUID, which: Filter, limit: int) -> int:
    """The number of traces, up to `limit`: an exact count would read all of them."""
    asked = _arguments(org_id, project_id, which, limit, 0, None, limit + SCANNED_MAX)
    await tx.execute(SQL.use_indexes)
    return int(await tx.fetchval(_scope(which).listing(SQL.count_traces), *asked))


async def aggregates(
    tx: Tx, org_id: UUID, project_id: UUID, which: Filter, by: Sequence[str], limit: int
) -> Sequence[Aggregate]:
    """Groups and sums up the newest `AGGREGATED_MAX` traces of the filter."""
    statement = SQL.aggregate_models if "model" in by else SQL.aggregate
    await tx.execute(SQL.use_indexes)
    scanned = SCANNED_TEXT_MAX if which.words else AGGREGATED_MAX
    asked = _arguments(org_id, project_id, which, AGGREGATED_MAX, 0, None, scanned)
    rows = await tx.fetch(_scope(which).listing(statement), *asked, list(by), limit)
    return [_aggregate(row, by) for row in rows]


def _aggregate(row: Row, by: Sequence[str]) -> Aggregate:
    seconds = row["seconds"] or [None] * 4
    return Aggregate(
        group={name: row[name] for name in by},
        traces=row["traces"],
        failed=row["failed"],
        running=row["running"],
        prompt_tokens=row["prompt_tokens"] or 0,
        completion_tokens=row["completion_tokens"] or 0,
        cost_usd=row["cost_usd"],
        seconds_p50=seconds[0],
        seconds_p90=seconds[1],
        seconds_p95=seconds[2],
        seconds_p99=seconds[3],
        seconds_max=row["seconds_max"],
    )


def _arguments(
    org_id: UUID, project_id: UUID, which: Filter, limit: int, offset: int, after: Place | None, scanned: int
) -> Sequence[Any]:
    """The arguments of list_traces."""
    return (
        org_id, project_id, which.started_from, which.started_to, list(which.status) or None, like(which.name),
        which.model, which.user_id, which.session_id, which.tag, which.source_id, which.cost_usd_min,
        which.seconds_min, list(which.wire or WIRES), limit, offset, which.cost_usd_max, which.seconds_max,
        [like(word) for word in which.words] or None, *_place(after), scanned,
    )  # fmt: skip


def _place(after: Place | None) -> tuple[datetime | None, str | None]:
    return (after.started_at, after.id) if after else (None, None)


def _behind(one: Trace, end: Place) -> bool:
    return one.started_at < end.started_at or (one.started_at == end.started_at and one.id > end.id)


def like(text: str | None) -> str | None:
    """A LIKE pattern for texts that contain `text`. A quotation mark and a backslash look different inside JSON, so a
    wildcard stands for each of them."""
    if text is None:
        return None
    escaped = "%".join(part.replace("%", "\\%").replace("_", "\\_") for part in _PARTS.split(text))
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
        wire=row["wire"],
        type=row["type"],
        body=orjson.loads(row["body"]),
        **columns(row),
    )


def columns(row: Row) -> dict[str, Any]:
    """The columns of a span's row beside its body."""
    return {
        "parent_id": row["parent_id"],
        "name": row["name"],
        "status": row["status"],
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "source_id": row["source_id"],
        "session_id": row["session_id"],
        "user_id": row["user_id"],
        "model": row["model"],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "cost_usd": row["cost"],
        "tags": row["tags"],
    }


@dataclass(frozen=True, slots=True)
class OwnRows:
    """The rows that a run's trace is made of. `spans` parses them, off the event loop."""

    run_id: UUID
    run: Row
    models: Sequence[Row]
    tools: Sequence[Row]
    events: Sequence[Row]
    replies: Sequence[Row]

    def spans(self) -> Sequence[Span]:
        return run_spans.spans(
            _own_run(self.run_id, self.run),
            [run_spans.ModelCall(**one) for one in self.models],
            [run_spans.ToolCall(**one) for one in self.tools],
            [_event(one) for one in self.events],
            [run_spans.Reply(**one) for one in self.replies],
        )


async def own_rows(tx: Tx, org_id: UUID, run_id: UUID) -> OwnRows | None:
    """None where there is no such run."""
    row = await tx.fetchrow(own_filled(SQL.own_run), org_id, run_id)
    if row is None:
        return None
    return OwnRows(
        run_id,
        row,
        await tx.fetch(SQL.own_model_calls, org_id, run_id, OWN_STEPS_MAX),
        await tx.fetch(SQL.own_tool_calls, org_id, run_id, OWN_STEPS_MAX),
        await tx.fetch(SQL.own_events, org_id, run_id, _PIECES, OWN_EVENTS_MAX),
        await tx.fetch(SQL.own_replies, org_id, run_id, list(DELTAS), OWN_PIECES_MAX),
    )


async def own_event(tx: Tx, org_id: UUID, run_id: UUID, sequence: int) -> run_spans.JournalEvent | None:
    row = await tx.fetchrow(SQL.own_event, org_id, run_id, sequence)
    return None if row is None else _event(row)


def _own_run(run_id: UUID, row: Row) -> run_spans.OwnRun:
    return run_spans.OwnRun(
        id=str(run_id),
        name=row["name"],
        status=row["status"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        input=row["input"],
        output=row["output"],
        error=row["error"],
        user_id=row["user_id"],
        session_id=str(row["session_id"]) if row["session_id"] else None,
        source_id=str(row["app_id"]) if row["app_id"] else None,
        attempt=row["attempt"],
    )


def _event(row: Row) -> run_spans.JournalEvent:
    said = orjson.loads(row["payload"])
    return run_spans.JournalEvent(row["sequence"], row["kind"], datetime.fromisoformat(said["timestamp"]), said["data"])


async def delete_trace(tx: Tx, org_id: UUID, project_id: UUID, trace_id: str) -> tuple[int, int]:
    """Deletes a trace with all its spans, in batches, so that no statement runs long. Returns the rows and bytes of the
    spans."""
    rows = size = 0
    while gone := await tx.fetchrow(SQL.delete_spans, org_id, project_id, trace_id, DELETED_MAX):
        rows, size = rows + gone["rows"], size + gone["bytes"]
        if gone["rows"] < DELETED_MAX:
            break
    await tx.fetchval(SQL.delete_trace, org_id, project_id, trace_id)
    return rows, size


async def received(tx: Tx, org_id: UUID, project_id: UUID, trace_id: str, after: tuple[datetime, str]) -> Sequence[Row]:
    return await tx.fetch(SQL.spans_received, org_id, project_id, trace_id, *after, TAILED_MAX)


def settings(row: Row) -> TraceSettings:
    url = row["export_url"]
    return TraceSettings(
        row["project_id"],
        row["retention_days"],
        row["kept_forever"],
        ExportSettings(url, None, row["export_content"], row["export_paused"]) if url else None,
        ExportState(
            row["exported_until"],
            row["exported_spans"],
            row["refused_spans"],
            row["export_attempt"],
            row["export_error"],
        ),
    )
