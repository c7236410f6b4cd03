"""The bill and its sums, between rows and values."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.usage import rules
from stoa.usage.types import Filter, Sums, UsageRow

SQL: Final = load("stoa.usage")
STEP: Final = timedelta(days=1)
"""How much of the bill is summed in one transaction."""
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing has been summed yet."""

_ONLY: Final = (
    " AND conversation_id = $8",
    " AND run_id = $9",
    " AND user_id = $10",
    " AND knowledgebase_id = $11",
)
"""Filters that have an index, in the order of the parameters $8 … $11."""


_FIELDS: Final = {
    "day": ("(at AT TIME ZONE 'UTC')::date", "date"),
    "model": ("model", "text"),
    "key_id": ("key_id", "uuid"),
    "project_id": ("project_id", "uuid"),
    "kind": ("kind", "text"),
    "user_id": ("user_id", "text"),
    "conversation_id": ("conversation_id", "uuid"),
    "run_id": ("run_id", "uuid"),
    "knowledgebase_id": ("knowledgebase_id", "uuid"),
}
"""The fields to group by: SQL expression and type."""


async def report(
    tx: Tx, org_id: UUID, which: Filter, groups: Sequence[str], page: PageRequest, *, whole: bool
) -> tuple[Sequence[UsageRow], int]:
    """A page of rows, and the number of rows in all pages. All statements must see one snapshot. `whole` means that
    the caller sees every project."""
    always = (which.project_id, which.key_id, which.model, which.kind)
    if rules.summed(which, groups):
        sums = rules.sums(which, groups, whole=whole)
        done = await tx.fetchrow(SQL.summed_until)
        assert done is not None
        spans = rules.spans(which.start, which.end, done["until" if sums is Sums.PROJECTS else "totals_until"])
        columns = ([span.width for span in spans], [span.start for span in spans], [span.end for span in spans])
        statement, asked = SQL.report, (org_id, *columns, *always, list(groups), sums)
    else:
        others = (which.conversation_id, which.run_id, which.user_id, which.knowledgebase_id)
        only = next((text for text, value in zip(_ONLY, others, strict=True) if value is not None), "")
        statement = _grouped(SQL.report_of_lines, groups).replace("{only}", only)
        asked = (org_id, which.start, which.end, *always, *others)
    return await _page(tx, statement, asked, groups, page)


def _grouped(statement: str, groups: Sequence[str]) -> str:
    columns = [
        f"{expression if name in groups else f'NULL::{kind}'} AS {name}" for name, (expression, kind) in _FIELDS.items()
    ]
    by = [str(place) for place, name in enumerate(_FIELDS, 1) if name in groups]
    return statement.replace("{grouped}", ", ".join(columns)).replace("{by}", ", ".join(by) or "()")


async def sum_more(tx: Tx) -> bool:
    """Adds the next day of the bill to the sums. False if nothing is left to do or another node is doing it."""
    row = await tx.fetchrow(SQL.take_progress)
    if row is None:
        return False
    done, totals = row["until"], row["totals_until"]
    if totals < done and await _sum_projects(tx, totals, done):
        return True
    settled: datetime = await tx.fetchval(SQL.settled_until)
    if done == NEVER:
        first: datetime | None = await tx.fetchval(SQL.first_line)
        done = settled if first is None else rules.full_hour(first)
    if done >= settled:
        return False
    until = min(done + STEP, settled)
    await tx.execute(SQL.sum_lines, done, until)
    await tx.execute(SQL.set_progress, until)
    return True


async def _sum_projects(tx: Tx, done: datetime, until: datetime) -> bool:
    """Adds the next day of the sums to those of all projects, up to `until`. False if there is none."""
    if done == NEVER:
        first: datetime | None = await tx.fetchval(SQL.first_sum)
        if first is None:
            return False
        done = first
    until = min(done + STEP, until)
    await tx.execute(SQL.sum_projects, done, until)
    await tx.execute(SQL.set_totals_progress, until)
    return True


async def _page(
    tx: Tx, statement: str, asked: Sequence[Any], groups: Sequence[str], page: PageRequest
) -> tuple[Sequence[UsageRow], int]:
    statement = statement.format(sums_order=page.order_by("day DESC NULLS LAST, cost_usd DESC"))
    rows = await tx.fetch(statement, *asked, page.page_size, page.offset)
    # After the last page no row carries the count: read it from the first page.
    counted = rows or (await tx.fetch(statement, *asked, 1, 0) if page.offset else ())
    return [_row(row, groups) for row in rows], counted[0]["total"] if counted else 0


def _row(row: Row, groups: Sequence[str]) -> UsageRow:
    return UsageRow(
        of={name: row[name] for name in groups},
        calls=row["calls"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        completion_tokens=row["completion_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        cost_usd=row["cost_usd"],
        estimated_calls=row["estimated_calls"],
        unpriced_calls=row["unpriced_calls"],
    )
