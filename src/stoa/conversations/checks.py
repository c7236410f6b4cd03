"""The doctor's checks of conversations: histories without gaps, files that are read and present, deletions that are
verified."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from stoa.db import Database, load
from stoa.db.blob_checks import blob_checks
from stoa.db.blobs import BlobStore
from stoa.db.checks import Check, stated, stated_by_day
from stoa.db.internal import internal
from stoa.kernel.findings import Finding

CONVERSATIONS: Final = load("stoa.conversations")
SQL: Final = load("stoa.conversations", "checks.sql")
_NO_REPAIR: Final = "No repair is safe; read the conversation, then delete it or leave it as it is."
NOT_READ: Final = {"code": "not_read", "message": "This file could not be read in time; upload it again."}


def checks(database: Database, blobs: BlobStore) -> Sequence[Check]:
    return [
        Check(
            "conversations.positions",
            "The messages of a conversation stand at 1, 2, 3 … without gaps.",
            stated_by_day(SQL.positions),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "conversations.runless",
            "Every message belongs to a run.",
            stated_by_day(SQL.runless),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "conversations.unread_files",
            "Every file is read, or given up, within minutes.",
            stated(SQL.unread_for_long),
            "A running server reads them again. The repair gives them up: whoever waits for one learns that it could"
            " not be read.",
            partial(_give_up, database),
        ),
        Check(
            "conversations.unproven",
            "Every deletion has its proof within minutes.",
            stated(SQL.unproven),
            "A running server looks again every few seconds, and logs how many rows are left.",
        ),
        Check(
            "conversations.idempotency_keys",
            "Every remembered answer names a conversation.",
            stated(SQL.idempotency_keys),
            "The repair forgets the answer: the key is free again.",
            partial(_forget, database),
        ),
        *blob_checks("blobs", "file", database, blobs, SQL.contents, CONVERSATIONS.content_in_use),
    ]


async def _give_up(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.give_up, finding.org_id, UUID(finding.subject), NOT_READ) is not None


async def _forget(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.forget, finding.org_id, finding.subject) is not None
