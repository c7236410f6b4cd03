"""Callbacks, between rows and values."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.callbacks.types import Attempt, Callback, CallbackStatus
from stoa.db import Row, Tx, load
from stoa.db.leases import claiming
from stoa.kernel.pages import COUNT_MAX, Page, PageRequest

SQL: Final = load("stoa.callbacks")
CLAIM: Final = claiming(SQL.claim, "callbacks", "running")


async def of_run(tx: Tx, org_id: UUID, run_id: UUID) -> Sequence[Callback]:
    """In the order of the request that started the run, with their attempts."""
    return await _with_attempts(tx, org_id, await tx.fetch(SQL.callbacks_of_run, org_id, run_id))


async def of_app(
    tx: Tx, org_id: UUID, app_id: UUID, statuses: Sequence[CallbackStatus] | None, page: PageRequest
) -> Page[Callback]:
    """Newest first, with their attempts."""
    wanted = (org_id, app_id, [one.value for one in statuses] if statuses else None)
    rows = await tx.fetch(SQL.callbacks_of_app, *wanted, page.page_size, page.offset)
    total = await tx.fetchval(SQL.count_callbacks_of_app, *wanted, COUNT_MAX)
    return Page(await _with_attempts(tx, org_id, rows), page.page, page.page_size, total, total == COUNT_MAX)


async def _with_attempts(tx: Tx, org_id: UUID, rows: Sequence[Row]) -> Sequence[Callback]:
    made: dict[UUID, list[Attempt]] = {row["id"]: [] for row in rows}
    for row in await tx.fetch(SQL.attempts, org_id, list(made)):
        made[row["callback_id"]].append(_attempt(row))
    return [value(row, made[row["id"]]) for row in rows]


def value(row: Row, attempts: Sequence[Attempt] = ()) -> Callback:
    return Callback(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["run_id"],
        row["app_id"],
        row["url"],
        row["auth"],
        row["metadata"],
        CallbackStatus(row["status"]),
        row["error"],
        row["not_before"],
        row["attempt"],
        row["posts"],
        row["node_id"],
        row["created_at"],
        row["ended_at"],
        attempts,
    )


def fence(one: Callback) -> tuple[object, ...]:
    """The arguments by which a statement checks that this worker still owns the row."""
    return (one.org_id, one.id, one.attempt, one.node_id)


def _attempt(row: Row) -> Attempt:
    return Attempt(row["number"], row["begun_at"], row["ended_at"], row["status_code"], row["error"])
