"""Organizations, projects and keys, between rows and values."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.access.types import AccessKey, Org, Project
from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal, SpendingLimit

SQL: Final = load("stoa.access")


def principal(row: Row) -> Principal:
    permissions = row["permissions"]
    return Principal(
        row["org_id"],
        row["project_id"],
        row["id"],
        frozenset(permissions) if permissions is not None else None,
        row["expires_at"],
        row["rate_limit"],
        _spending_limit(row),
        cache_seconds=row["cache_seconds"],
        resumable_streams=row["resumable_streams"],
    )


def _spending_limit(row: Row) -> SpendingLimit | None:
    return (
        SpendingLimit(float(row["spending_limit_usd"]), row["spending_period"])
        if row["spending_limit_usd"] is not None
        else None
    )


async def list_keys(tx: Tx, org_id: UUID, page: PageRequest) -> tuple[Sequence[AccessKey], int]:
    rows = await tx.fetch(
        SQL.list_keys.format(order=page.order_by("created_at DESC")), org_id, page.page_size, page.offset
    )
    return [key(row) for row in rows], await tx.fetchval(SQL.count_keys, org_id)


async def list_projects(tx: Tx, org_id: UUID, page: PageRequest) -> tuple[Sequence[Project], int]:
    rows = await tx.fetch(
        SQL.list_projects.format(order=page.order_by("created_at")), org_id, page.page_size, page.offset
    )
    return [project(row) for row in rows], await tx.fetchval(SQL.count_projects, org_id)


def key(row: Row) -> AccessKey:
    return AccessKey(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["name"],
        row["preview"],
        row["permissions"],
        row["expires_at"],
        row["created_by"],
        row["created_at"],
        row["rate_limit"],
        _spending_limit(row),
        row["successor_id"],
        cache_seconds=row["cache_seconds"],
        resumable_streams=row["resumable_streams"],
    )


def org(row: Row) -> Org:
    return Org(row["id"], row["name"], row["created_at"])


def project(row: Row) -> Project:
    return Project(
        row["id"],
        row["org_id"],
        row["name"],
        row["description"],
        row["visibility"],
        row["created_at"],
        row["updated_at"],
        row["retention_days"],
    )
