"""The bill, between rows and values."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.usage.types import Filter, UsageRow

SQL: Final = load("stoa.usage")


async def report(
    tx: Tx, org_id: UUID, which: Filter, groups: Sequence[str], page: PageRequest
) -> tuple[Sequence[UsageRow], int]:
    """A page of sums, and how many there are in all pages."""
    statement = SQL.report.format(order=page.order_by("day DESC NULLS LAST, cost_usd DESC"))
    asked = (
        org_id,
        which.start,
        which.end,
        which.project_id,
        which.key_id,
        which.conversation_id,
        which.run_id,
        which.model,
        which.user_id,
        list(groups),
    )
    more = (which.kind, which.knowledgebase_id)
    rows = await tx.fetch(statement, *asked, page.page_size, page.offset, *more)
    counted = rows or (
        await tx.fetch(statement, *asked, 1, 0, *more) if page.offset else ()
    )  # Past the last page the count comes with the first.
    return [_row(row, groups) for row in rows], counted[0]["total"] if counted else 0


def _row(row: Row, groups: Sequence[str]) -> UsageRow:
    return UsageRow(
        {name: row[name] for name in groups},
        row["calls"],
        row["prompt_tokens"],
        row["cached_tokens"],
        row["completion_tokens"],
        row["reasoning_tokens"],
        row["cost_usd"],
        row["estimated_calls"],
        row["unpriced_calls"],
    )
