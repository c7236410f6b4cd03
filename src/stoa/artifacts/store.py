"""Artifacts, versions and links, between rows and values. Every function takes its transaction as an argument."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.artifacts.types import Artifact, ArtifactFilter, Kind, Share, Version
from stoa.db import Row, Tx, load
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest

SQL: Final = load("stoa.artifacts")


async def artifact(tx: Tx, org_id: UUID, artifact_id: UUID, *, lock: bool = False) -> Artifact:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.lock_artifact if lock else SQL.artifact, org_id, artifact_id)
    found = await _whole(tx, org_id, [row]) if row is not None else ()
    if not found:
        raise no_artifact(artifact_id)
    return found[0]


async def list_artifacts(
    tx: Tx, org_id: UUID, wanted: ArtifactFilter, page: PageRequest
) -> tuple[Sequence[Artifact], int]:
    kind = wanted.kind.value if wanted.kind else None
    values = (org_id, wanted.store_id, wanted.user_id, kind, wanted.project_id, wanted.of_run)
    query = SQL.list_artifacts.format(order=page.order_by("updated_at DESC"))
    rows = await tx.fetch(query, *values, page.page_size, page.offset)
    return await _whole(tx, org_id, rows), await tx.fetchval(SQL.count_artifacts, *values)


async def _whole(tx: Tx, org_id: UUID, rows: Sequence[Row]) -> Sequence[Artifact]:
    """Leaves out artifacts that were deleted after their rows were read."""
    ids = [row["id"] for row in rows]
    newest = {row["artifact_id"]: version_of(row) for row in await tx.fetch(SQL.newest_artifact_versions, org_id, ids)}
    shares = {row["artifact_id"]: share_of(row) for row in await tx.fetch(SQL.artifact_shares, org_id, ids)}
    return [
        Artifact(
            row["id"],
            row["org_id"],
            row["project_id"],
            row["store_id"],
            row["user_id"],
            row["run_id"],
            row["file_name"],
            row["name"],
            Kind(row["kind"]),
            row["created_by"],
            row["created_at"],
            row["updated_at"],
            newest[row["id"]],
            shares.get(row["id"]),
        )
        for row in rows
        if row["id"] in newest
    ]


async def version(tx: Tx, org_id: UUID, artifact_id: UUID, named: UUID | int | None) -> Version:
    """By id or number; None means the newest. Raises NotFound."""
    by_id = named if isinstance(named, UUID) else None
    by_number = named if isinstance(named, int) else None
    row = await tx.fetchrow(SQL.artifact_version, org_id, artifact_id, by_id, by_number)
    if row is None:
        raise NotFound(f"The artifact {artifact_id} has no version {named or 'latest'}.")
    return version_of(row)


def version_of(row: Row) -> Version:
    return Version(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["artifact_id"],
        row["version"],
        row["name"],
        row["description"],
        row["mime_type"],
        row["size"],
        row["sha256"],
        row["entry_path"],
        row["run_id"],
        row["created_by"],
        row["created_at"],
    )


def share_of(row: Row) -> Share:
    return Share(row["id"], row["artifact_id"], row["pinned_version_id"], row["expires_at"])


def no_artifact(artifact_id: UUID) -> NotFound:
    return NotFound(f"There is no artifact {artifact_id}.")
