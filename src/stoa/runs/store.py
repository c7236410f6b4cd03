"""Runs and nodes, between rows and values."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.runs.types import Run, RunStatus

SQL: Final = load("stoa.runs")


async def run(tx: Tx, org_id: UUID, run_id: UUID) -> Run | None:
    row = await tx.fetchrow(SQL.run, org_id, run_id)
    return from_row(row) if row else None


async def run_for_update(tx: Tx, org_id: UUID, run_id: UUID) -> Run | None:
    row = await tx.fetchrow(SQL.run_for_update, org_id, run_id)
    return from_row(row) if row else None


async def list_runs(
    tx: Tx, org_id: UUID, page: PageRequest, *, statuses: Sequence[str] | None, conversation_id: UUID | None, user_id: str | None
) -> tuple[Sequence[Run], int]:
    filters = (org_id, statuses, conversation_id, user_id)
    rows = await tx.fetch(SQL.list_runs.format(order=page.order_by("created_at DESC")), *filters, page.page_size, page.offset)
    return [from_row(row) for row in rows], await tx.fetchval(SQL.count_runs, *filters)


async def claim(tx: Tx, node_id: UUID, limit: int) -> Sequence[Run]:
    return [from_row(row) for row in await tx.fetch(SQL.claim, node_id, limit)]


def from_row(row: Row) -> Run:
    return Run(
        row["id"], row["org_id"], row["project_id"], row["conversation_id"], row["message_id"], row["message_position"], row["model_id"],
        row["app_id"], row["user_id"], RunStatus(row["status"]), row["options"], row["input"], row["output"], row["error"], row["usage"],
        row["attempt"], row["node_id"], row["cancel_reason"], row["created_at"], row["started_at"], row["ended_at"],
    )  # fmt: skip
