"""Receipts of deletions: written in the transaction that removes the rows, then verified by a re-scan of all tables.

If the node dies in between, the next sweep (`finish_pending`) of any node continues.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

import structlog

from stoa.db import audit
from stoa.db.blobs import BlobsUnavailable
from stoa.db.engine import Database, Row, Tx
from stoa.db.internal import internal
from stoa.db.rescan import rescan
from stoa.db.sql import load
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

_SQL: Final = load("stoa.db", "receipts.sql")
PROVEN_AT_ONCE_MAX: Final = 200
"""Maximum rows that are verified at once; larger deletions are verified by the next sweep, because the re-scan searches
every table for each row."""
SWEEP_SECONDS: Final = 5.0
_log = structlog.get_logger("stoa.db")

Discard: TypeAlias = Callable[[UUID, UUID, Sequence[bytes]], Awaitable[tuple[int, int]]]
"""(organization, project, hashes) → the removed blobs and bytes that no row names any more."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The removed data. `stores`: rows and bytes per table. `row_ids` are of rows that do not have the subject's id;
    `hashes` name content that may be removed too."""

    kind: str
    subject_id: UUID
    project_id: UUID
    stores: Mapping[str, tuple[int, int]]
    row_ids: Sequence[UUID] = ()
    hashes: Sequence[bytes] = ()
    gone: bool = True
    """Whether the subject itself was deleted, or only a part of it."""


class Receipts:
    """Of the kinds of one slice."""

    def __init__(self, database: Database, ids: Ids, kinds: Sequence[str], discard: Discard | None = None) -> None:
        self._database = database
        self._ids = ids
        self._kinds = list(kinds)
        self._discard = discard

    async def write(self, tx: Tx, principal: Principal, removed: Removed) -> UUID:
        """Writes the receipt and the audit line, in the transaction that removes the rows. Returns the receipt's id."""
        subjects = [*([removed.subject_id] if removed.gone else []), *removed.row_ids]
        answers = await tx.fetchval(_SQL.forget_answers, principal.org_id, subjects)
        answers += removed.stores.get("idempotency_keys", (0, 0))[0]
        stores = {name: {"rows": rows, "bytes": size} for name, (rows, size) in removed.stores.items()}
        stores["idempotency_keys"] = {"rows": answers, "bytes": 0}
        if self._discard is not None:
            stores["blobs"] = {"rows": 0, "bytes": 0}
        deletion_id = self._ids.new()
        await tx.execute(
            _SQL.insert,
            principal.org_id,
            removed.project_id,
            deletion_id,
            removed.kind,
            removed.subject_id,
            stores,
            sorted({sha256.hex() for sha256 in removed.hashes}),
            subjects,
            principal.key_id,
        )
        await audit.record(tx, principal, f"{removed.kind}.delete", removed.subject_id)
        return deletion_id

    async def finish(self, org_id: UUID, deletion_id: UUID) -> None:
        """Removes the content, and verifies a deletion of few rows. Idempotent, also on two nodes at once. While the
        content is unreachable, the receipt stays unverified, and the sweep retries."""
        async with internal(self._database) as tx:
            row = await tx.fetchrow(_SQL.receipt, org_id, deletion_id)
        assert row is not None, "a receipt is never removed"
        await self._attempt(row, rows_max=PROVEN_AT_ONCE_MAX)

    async def finish_pending(self) -> None:
        """Completes the deletions that any node left unfinished."""
        async with internal(self._database) as tx:
            waiting = await tx.fetch(_SQL.unverified, self._kinds)
        for one in waiting:
            async with internal(self._database) as tx:
                row = await tx.fetchrow(_SQL.receipt, one["org_id"], one["id"])
            if row is not None and not await self._attempt(row):
                return

    async def _attempt(self, row: Row, rows_max: int | None = None) -> bool:
        try:
            await self._finish(row, rows_max)
        except BlobsUnavailable as error:
            _log.warning("deleted content cannot be removed yet", deletion_id=str(row["id"]), reason=error.message)
            return False
        return True

    async def _finish(self, row: Row, rows_max: int | None = None) -> None:
        org_id, deletion_id = row["org_id"], row["id"]
        if row["blobs"] and self._discard is not None:
            hashes = [bytes.fromhex(name) for name in row["blobs"]]
            count, size = await self._discard(org_id, row["project_id"], hashes)
            async with internal(self._database) as tx:
                await tx.execute(_SQL.record_blobs, org_id, deletion_id, count, size)
        if rows_max is not None and len(row["file_ids"]) > rows_max:
            return
        async with internal(self._database) as tx:
            left = await rescan(tx, org_id, row["file_ids"])
            if not left:
                await tx.execute(_SQL.verified, org_id, deletion_id)
        if left:
            _log.error("a deletion left rows behind", deletion_id=str(deletion_id), rows=dict(left))
