"""Sources and syncs, between rows and values. Every function takes its transaction as an argument."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.db.leases import claiming
from stoa.kernel.leases import SYNC
from stoa.kernel.pages import PageRequest
from stoa.sources.types import Counts, Provider, Source, Sync, SyncStatus

SQL: Final = load("stoa.sources")
CLAIM: Final = claiming(SQL.claim, "knowledge_source_syncs", "running")


# --- sources --------------------------------------------------------------------------------------------------------
async def source(tx: Tx, org_id: UUID, source_id: UUID) -> Source | None:
    row = await tx.fetchrow(SQL.source, org_id, source_id)
    return (await _with_syncs(tx, org_id, [row]))[0] if row else None


async def list_sources(tx: Tx, org_id: UUID, base_id: UUID, page: PageRequest) -> tuple[Sequence[Source], int]:
    rows = await tx.fetch(
        SQL.list_sources.format(order=page.order_by("created_at DESC")), org_id, base_id, page.page_size, page.offset
    )
    return await _with_syncs(tx, org_id, rows), await tx.fetchval(SQL.count_sources, org_id, base_id)


async def _with_syncs(tx: Tx, org_id: UUID, rows: Sequence[Row]) -> Sequence[Source]:
    latest = {
        row["source_id"]: sync_of(row) for row in await tx.fetch(SQL.latest_syncs, org_id, [row["id"] for row in rows])
    }
    return [replace(source_of(row), sync=latest.get(row["id"])) for row in rows]


def source_of(row: Row) -> Source:
    return Source(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["knowledgebase_id"],
        row["name"],
        Provider(row["provider"]),
        row["config"],
        row["metadata"],
        row["secret_names"],
        row["schedule"],
        row["timezone"],
        row["next_sync_at"],
        row["revision"],
        row["created_by"],
        row["created_at"],
        row["updated_at"],
        row["items"],
    )


# --- syncs ----------------------------------------------------------------------------------------------------------
def sync_of(row: Row) -> Sync:
    counts = Counts(
        row["found"], row["added"], row["updated"], row["unchanged"], row["skipped"], row["deleted"], row["failed"]
    )
    return Sync(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["source_id"],
        row["trigger"],
        SyncStatus(row["status"]),
        row["confirm_deletions"],
        row["cancel_requested"],
        row["attempt"],
        row["node_id"],
        counts,
        row["warnings"],
        row["error"],
        row["created_at"],
        row["started_at"],
        row["ended_at"],
    )


async def list_syncs(tx: Tx, org_id: UUID, source_id: UUID, page: PageRequest) -> tuple[Sequence[Sync], int]:
    rows = await tx.fetch(
        SQL.list_syncs.format(order=page.order_by("created_at DESC")), org_id, source_id, page.page_size, page.offset
    )
    return [sync_of(row) for row in rows], await tx.fetchval(SQL.count_syncs, org_id, source_id)


def fence(sync: Sync) -> tuple[object, ...]:
    """The arguments of the fence: the statement writes only if the sync belongs to this node, in this attempt."""
    return (sync.org_id, sync.id, sync.attempt, sync.node_id)


# --- entries --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Remembered:
    """What was stored about an address, and the item that was made of it."""

    state: dict[str, Any]
    sha256: bytes | None
    revision: int | None
    seen_by: UUID | None
    failed: bool
    item_id: UUID | None
    item_sha256: bytes | None
    item_metadata: dict[str, Any] | None


async def remember(tx: Tx, sync: Sync, origins: Sequence[str]) -> Sequence[Remembered]:
    rows = await tx.fetch(SQL.remember, sync.org_id, sync.source_id, list(origins))
    return [
        Remembered(
            row["state"] or {},
            row["sha256"],
            row["revision"],
            row["seen_by"],
            row["failed"],
            row["item_id"],
            row["item_sha256"],
            row["item_metadata"],
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Entry:
    """A visited address. Revision 0 keeps the stored revision."""

    origin: str
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    sha256: bytes | None = None
    revision: int = 0
    error: dict[str, str] | None = None


async def settle(tx: Tx, sync: Sync, entries: Sequence[Entry], counts: Counts) -> bool | None:
    """Whether a cancel was requested; None when this node no longer owns the sync, and nothing was stored."""
    n = asdict(counts)
    return await tx.fetchval(
        SQL.settle,
        *fence(sync),
        n["found"],
        n["added"],
        n["updated"],
        n["unchanged"],
        n["skipped"],
        n["failed"],
        SYNC.seconds,
        [entry.origin for entry in entries],
        [entry.state for entry in entries],
        [entry.sha256 for entry in entries],
        [entry.revision for entry in entries],
        [entry.error for entry in entries],
    )
