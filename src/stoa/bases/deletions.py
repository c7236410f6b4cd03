"""Deletions of items and bases, verified: one transaction removes every row, then the content is removed, then a
re-scan looks for leftovers.

The receipt is written in that transaction. If the node dies before the end, the next sweep continues.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog

from stoa.bases import store
from stoa.bases.ports import Index
from stoa.bases.store import SQL
from stoa.db import Database, Row, Tx, audit
from stoa.db.blob_checks import discard_unused
from stoa.db.blobs import UPLOAD_SECONDS_MAX, BlobStore, BlobsUnavailable
from stoa.db.internal import internal
from stoa.index import BaseKey, Removed
from stoa.kernel.errors import NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

VERIFIED_AT_ONCE_CHUNKS_MAX: Final = 20_000
"""Larger bases are verified by the next sweep: the re-scan reads the whole index, a tenth of a second for so many
chunks."""
_log = structlog.get_logger("stoa.documents")


class Deletions:
    def __init__(self, database: Database, index: Index, blobs: BlobStore, ids: Ids) -> None:
        self._database = database
        self._index = index
        self._blobs = blobs
        self._ids = ids

    async def delete_items(self, principal: Principal, base_id: UUID, item_ids: Sequence[UUID]) -> UUID:
        """Raises NotFound if none of them exists any more."""
        async with self._database.tenant(principal) as tx:
            base = await tx.fetchrow(SQL.share_base, principal.org_id, base_id)
            read = await tx.fetchrow(SQL.measure_transcripts, principal.org_id, base_id, list(item_ids))
            gone = (
                await tx.fetch(SQL.delete_items, principal.org_id, base_id, list(item_ids)) if base is not None else []
            )
            if base is None or not gone:
                raise NotFound(f"There is no item {item_ids[0]}.")
            removed = Removed(0, 0)
            building = store.building_of(base["building"])
            for generation in [base["generation"], *([building.generation] if building else [])]:
                part = await self._index.remove(
                    tx, BaseKey(principal.org_id, base["project_id"], base_id, generation), [row["id"] for row in gone]
                )
                removed = Removed(removed.chunks + part.chunks, removed.bytes + part.bytes)
            deletion_id = await self._receipt(
                tx, principal, base["project_id"], base_id, "knowledge_item", gone[0]["id"], gone, removed, read
            )
            for row in gone:
                await audit.record(tx, principal, "knowledge_item.delete", row["id"])
        await self._finish(principal.org_id, deletion_id)
        return deletion_id

    async def delete_base(self, principal: Principal, base_id: UUID) -> UUID:
        async with self._database.tenant(principal) as tx:
            base = await tx.fetchrow(SQL.lock_base, principal.org_id, base_id)
            if base is None:
                raise NotFound(f"There is no knowledge base {base_id}.")
            read = await tx.fetchrow(SQL.measure_transcripts, principal.org_id, base_id, None)
            gone = await tx.fetch(SQL.delete_items, principal.org_id, base_id, None)
            building = store.building_of(base["building"])
            removed = Removed(0, 0)
            for generation in [base["generation"], *([building.generation] if building else [])]:
                part = await self._index.drop(tx, BaseKey(principal.org_id, base["project_id"], base_id, generation))
                removed = Removed(removed.chunks + part.chunks, removed.bytes + part.bytes)
            await tx.execute(SQL.delete_base, principal.org_id, base_id)
            lines: int = await tx.fetchval(SQL.forget_base_on_bill, principal.org_id, base_id)
            deletion_id = await self._receipt(
                tx, principal, base["project_id"], base_id, "knowledgebase", base_id, gone, removed, read, lines
            )
            await audit.record(tx, principal, "knowledgebase.delete", base_id)
        await self._finish(principal.org_id, deletion_id)
        return deletion_id

    async def finish_pending(self) -> None:
        """Removes content and verifies deletions that any node left unfinished; one scan of an index verifies all of
        its deletions."""
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.unverified_deletions)
        by_base: dict[tuple[UUID, UUID], list[Row]] = {}
        for row in rows:
            if not await self._remove_content(row):
                break
            by_base.setdefault((row["org_id"], row["knowledgebase_id"]), []).append(row)
        for together in by_base.values():
            if not await self._verify(together) and len(together) > 1:
                for row in together:
                    await self._verify([row])

    async def discard(self, org_id: UUID, project_id: UUID, hashes: Sequence[bytes]) -> tuple[int, int]:
        """Removes content that no item has; returns (blobs, bytes)."""
        return await discard_unused(self._database, self._blobs, SQL.content_in_use, org_id, project_id, hashes)

    async def clear_orphans(self) -> int:
        """Removes content that no item has, left by uploads that died before their rows were written. Gives how
        many."""
        count = 0
        async for group in self._blobs.stored():
            owner: dict[tuple[UUID, UUID], list[bytes]] = {}
            for stored in group:
                if stored.owner is not None:
                    org_id, project_id, sha256 = stored.owner
                    owner.setdefault((org_id, project_id), []).append(sha256)
                elif stored.age_seconds > UPLOAD_SECONDS_MAX:
                    await self._blobs.remove_incoming(stored.name)
            for (org_id, project_id), hashes in owner.items():
                async with internal(self._database) as tx:
                    rows = await tx.fetch(SQL.unknown_content, org_id, project_id, hashes)
                gone, _ = await self.discard(org_id, project_id, [row["h"] for row in rows])
                count += gone
        if count:
            _log.info("removed unreferenced content", blobs=count)
        return count

    async def _receipt(
        self,
        tx: Tx,
        principal: Principal,
        project_id: UUID,
        base_id: UUID,
        kind: str,
        subject_id: UUID,
        gone: Sequence[Row],
        removed: Removed,
        read: Row | None,
        lines: int = 0,
    ) -> UUID:
        assert read is not None, "a count is always a row"
        item_ids = [row["id"] for row in gone]
        answers = await tx.fetchval(SQL.delete_idempotency, principal.org_id, [subject_id, *item_ids])
        stores = {
            "knowledgebases": {"rows": int(subject_id == base_id), "bytes": 0},
            "knowledge_items": {"rows": len(gone), "bytes": 0},
            "knowledge_chunks": {"rows": removed.chunks, "bytes": removed.bytes},
            "knowledge_transcripts": {"rows": read["rows"], "bytes": read["bytes"]},
            "model_calls": {"rows": lines, "bytes": 0, "anonymized": True},
            "idempotency_keys": {"rows": answers, "bytes": 0},
            "blobs": {"rows": 0, "bytes": 0},
        }
        hashes = {value.hex() for row in gone for value in (row["sha256"], row["served_sha256"]) if value is not None}
        deletion_id = self._ids.new()
        await tx.execute(
            SQL.insert_deletion,
            principal.org_id,
            project_id,
            deletion_id,
            kind,
            subject_id,
            stores,
            sorted(hashes),
            item_ids,
            principal.key_id,
            base_id,
        )
        return deletion_id

    async def _finish(self, org_id: UUID, deletion_id: UUID) -> None:
        """Removes the content and verifies; a large base is verified by the next sweep. Idempotent, also on two nodes
        at once."""
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.deletion, org_id, deletion_id)
            assert row is not None
            chunks: int = await tx.fetchval(SQL.chunks_of_base, org_id, row["knowledgebase_id"])
        if await self._remove_content(row) and chunks <= VERIFIED_AT_ONCE_CHUNKS_MAX:
            await self._verify([row])

    async def _remove_content(self, row: Row) -> bool:
        """False while the content is unreachable: the receipt stays unverified, and the sweep retries."""
        if row["blobs"]:
            try:
                hashes = [bytes.fromhex(name) for name in row["blobs"]]
                count, size = await self.discard(row["org_id"], row["project_id"], hashes)
            except BlobsUnavailable as error:
                _log.warning("deleted content cannot be removed yet", deletion_id=str(row["id"]), reason=error.message)
                return False
            async with internal(self._database) as tx:
                await tx.execute(SQL.record_blobs, row["org_id"], row["id"], count, size)
        return True

    async def _verify(self, rows: Sequence[Row]) -> bool:
        """Re-scans for leftovers of these deletions from one base. True and recorded where there are none."""
        org_id, base_id = rows[0]["org_id"], rows[0]["knowledgebase_id"]
        left = 0
        async with internal(self._database) as tx:
            for row in rows:
                left += await tx.fetchval(SQL.left_over, org_id, row["subject_id"], row["file_ids"])
            left += await self._index.left_over(
                tx, org_id, base_id, [item_id for row in rows for item_id in row["file_ids"]]
            )
            if left == 0:
                await tx.execute(SQL.verified, org_id, [row["id"] for row in rows])
        if left:
            _log.error(
                "deletions left rows behind",
                knowledgebase_id=str(base_id),
                deletions=[str(row["id"]) for row in rows],
                rows=left,
            )
        return left == 0
