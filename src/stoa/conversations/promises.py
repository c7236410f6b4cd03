"""What conversations promise, counted (for the doctor): whole histories, files that are read and there, deletions with their proof."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from stoa.db import Database, Tx, load
from stoa.db.blobs import UPLOAD_SECONDS_MAX, BlobStore, blob_name, hold
from stoa.db.checks import Check, Scope, stated
from stoa.db.internal import internal
from stoa.kernel.findings import Finding

SQL: Final = load("stoa.conversations", "promises.sql")
_NO_REPAIR: Final = "No repair is safe; read the conversation, then delete it or leave it as it is."
NOT_READ: Final = {"code": "not_read", "message": "This file could not be read in time; upload it again."}


def checks(database: Database, blobs: BlobStore) -> Sequence[Check]:
    return [
        Check("conversations.positions", "The messages of a conversation stand at 1, 2, 3 … without gaps.", stated(SQL.positions), _NO_REPAIR),
        Check("conversations.runless", "Every message belongs to a run.", stated(SQL.runless), _NO_REPAIR),
        Check(
            "conversations.unread_files", "Every file is read, or given up, within minutes.", stated(SQL.unread_for_long),
            "A running server reads them again. The repair gives them up: whoever waits for one learns that it could not be read.", partial(_give_up, database),
        ),
        Check(
            "conversations.unproven", "Every deletion has its proof within minutes.", stated(SQL.unproven),
            "A running server looks again every few seconds, and logs how many rows are left.",
        ),
        Check(
            "conversations.vain_answers", "Every remembered answer names a conversation.", stated(SQL.vain_answers),
            "The repair forgets the answer: the key is free again.", partial(_forget, database),
        ),
        Check(
            "blobs.missing", "The content of every file is there.", partial(_missing, blobs),
            "Restore the directory of blobs from a backup, or upload the file again.",
        ),
        Check(
            "blobs.orphans", "Every stored content belongs to a file (uploads of the last hour apart).", partial(_orphans, blobs),
            "The repair removes it.", partial(_remove, database, blobs),
        ),
    ]  # fmt: skip


async def _missing(blobs: BlobStore, tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    async for row in tx.cursor(SQL.contents, scope.org_id, scope.since, prefetch=500):
        name = blob_name(row["org_id"], row["project_id"], row["sha256"])
        if not await blobs.exists(name):
            yield Finding(row["org_id"], name, "no such content is stored")
        scope.looked_at(1)


async def _orphans(blobs: BlobStore, tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """Uploads are stored before their row: what is young may be on its way. Half of an upload that never ended is nobody's."""
    async for group in blobs.stored(scope.org_id):
        scope.looked_at(len(group))
        for stored in group:
            if stored.age_seconds < UPLOAD_SECONDS_MAX:
                continue
            if stored.owner is None:
                if scope.org_id is None:
                    yield Finding(UUID(int=0), stored.name, f"{stored.size} bytes of an upload that never ended")
            elif not await tx.fetchval(SQL.content_has_file, *stored.owner):
                yield Finding(stored.owner[0], stored.name, f"{stored.size} bytes that no file has")


async def _remove(database: Database, blobs: BlobStore, finding: Finding) -> bool:
    if finding.subject.count("/") != 2:
        return await blobs.remove_incoming(finding.subject) > 0
    org_id, project_id, digest = finding.subject.split("/")
    async with internal(database) as tx:
        await hold(tx, finding.subject)
        if await tx.fetchval(SQL.content_has_file, UUID(org_id), UUID(project_id), bytes.fromhex(digest)):
            return False
        return await blobs.delete(finding.subject) > 0


async def _give_up(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.give_up, finding.org_id, UUID(finding.subject), NOT_READ) is not None


async def _forget(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.forget, finding.org_id, finding.subject) is not None
