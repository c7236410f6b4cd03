"""Checks of stored blobs against the rows that name them: every named blob exists, and every blob is named."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from stoa.db.blobs import UPLOAD_SECONDS_MAX, Blobs, BlobStore, BlobsUnavailable, blob_name, lock_blob
from stoa.db.checks import Check, Scope
from stoa.db.engine import Database, Row, Tx
from stoa.db.internal import internal
from stoa.kernel.findings import Finding

LOOKED_AT_ONCE: Final = 16
"""Concurrent look-ups; each is a request to a bucket."""
_log = structlog.get_logger("stoa.blobs")


def blob_checks(
    prefix: str, what: str, database: Database, blobs: BlobStore, contents: str, in_use: str
) -> Sequence[Check]:
    """`contents` yields (org_id, project_id, sha256) of all rows in a scope; `in_use` says whether a row names one
    content."""
    return [
        Check(
            f"{prefix}.missing",
            f"The content of every {what} is there.",
            partial(_missing, blobs, contents),
            "Restore the files from a backup, or upload the file again.",
        ),
        Check(
            f"{prefix}.orphans",
            f"Every stored content belongs to some {what} (uploads of the last hour apart).",
            partial(_orphans, blobs, in_use),
            "The repair removes it.",
            partial(_remove, database, blobs, in_use),
        ),
    ]


async def _missing(blobs: BlobStore, contents: str, tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    rows: list[Row] = []
    async for row in tx.cursor(contents, scope.org_id, scope.since, prefetch=500):
        rows.append(row)
        if len(rows) == LOOKED_AT_ONCE:
            for finding in await _absent(blobs, rows):
                yield finding
            scope.looked_at(len(rows))
            rows.clear()
    for finding in await _absent(blobs, rows):
        yield finding
    scope.looked_at(len(rows))


async def _absent(blobs: BlobStore, rows: Sequence[Row]) -> Sequence[Finding]:
    names = [blob_name(row["org_id"], row["project_id"], row["sha256"]) for row in rows]
    there = await asyncio.gather(*map(blobs.exists, names))
    return [
        Finding(row["org_id"], name, "no such content is stored")
        for row, name, found in zip(rows, names, there, strict=True)
        if not found
    ]


async def _orphans(blobs: BlobStore, in_use: str, tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """A blob is stored before the row that names it, so blobs of the last hour are skipped. Also finds unfinished
    uploads."""
    async for group in blobs.stored(scope.org_id):
        scope.looked_at(len(group))
        for stored in group:
            if stored.age_seconds < UPLOAD_SECONDS_MAX:
                continue
            if stored.owner is None:
                if scope.org_id is None:
                    yield Finding(UUID(int=0), stored.name, f"{stored.size} bytes of an upload that never ended")
            elif not await tx.fetchval(in_use, *stored.owner):
                yield Finding(stored.owner[0], stored.name, f"{stored.size} bytes that nobody has")


async def _remove(database: Database, blobs: BlobStore, in_use: str, finding: Finding) -> bool:
    if finding.subject.count("/") != 2:
        return await blobs.remove_incoming(finding.subject)
    org_id, project_id, digest = finding.subject.split("/")
    gone, _ = await discard_unused(database, blobs, in_use, UUID(org_id), UUID(project_id), [bytes.fromhex(digest)])
    return gone > 0


async def discard_unused(
    database: Database, blobs: Blobs, in_use: str, org_id: UUID, project_id: UUID, hashes: Sequence[bytes]
) -> tuple[int, int]:
    """Removes blobs that no row names, each under its advisory lock so that no upload can name it meanwhile; returns
    (blobs, bytes). Raises BlobsUnavailable, with what came before removed."""
    count = size = 0
    for sha256 in hashes:
        name = blob_name(org_id, project_id, sha256)
        # Checked first, so that no database connection waits for a bucket that does not answer.
        if not await blobs.exists(name):
            continue
        async with internal(database) as tx:
            await lock_blob(tx, name)
            if not await tx.fetchval(in_use, org_id, project_id, sha256):
                gone = await blobs.delete(name)
                count, size = count + (gone > 0), size + gone
    return count, size


async def tidied(discarded: Awaitable[tuple[int, int]]) -> None:
    """Removes unreferenced content of a request. If the files are unreachable, the request succeeds anyway:
    `clear_orphans` and the doctor find the content later."""
    try:
        await discarded
    except BlobsUnavailable as error:
        _log.warning("unreferenced content is left behind", reason=error.message)
