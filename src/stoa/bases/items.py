"""The items of a base: uploaded, replaced, listed, processed again, deleted. One transaction per method."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from stoa.bases import store
from stoa.bases.deletions import Deletions
from stoa.bases.ports import Index
from stoa.bases.service import CHANNEL, keys_of, no_base
from stoa.bases.store import SQL
from stoa.bases.types import Item, ItemStatus
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.blob_checks import tidied
from stoa.db.blobs import Blob, Blobs, blob_name, lock_blob, opened
from stoa.db.idempotency import IdempotencyKey
from stoa.index import BaseKey, Chunk
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.files import file_name, mime_type
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file. `replaces` is the item that it replaces, whose metadata stays if the upload has none."""

    source: BinaryIO
    name: str | None
    mime_type: str | None
    metadata: Mapping[str, Any] | None
    replaces: UUID | None = None
    source_id: UUID | None = None
    origin: str | None = None


class Items:
    def __init__(self, database: Database, index: Index, blobs: Blobs, deletions: Deletions, ids: Ids) -> None:
        self._database = database
        self._index = index
        self._blobs = blobs
        self._deletions = deletions
        self._ids = ids

    async def upload(
        self, principal: Principal, base_id: UUID, uploads: Sequence[Upload], once: IdempotencyKey | None
    ) -> Sequence[Item]:
        """All or nothing. The items are `pending`; workers take them up. `once` is bound to the contents' hashes
        here."""
        named = [(upload, file_name(upload.name, f"files[{index}]")) for index, upload in enumerate(uploads)]
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.settings, principal.org_id, base_id)
            if row is None:
                raise no_base(base_id)
            await self._check_replaced(tx, principal, base_id, uploads)
        project_id: UUID = row["project_id"]
        blobs = [await self._blobs.put(principal.org_id, project_id, upload.source) for upload in uploads]
        if once:
            once = IdempotencyKey(once.key, once.route, once.body_sha256 + b"".join(blob.sha256 for blob in blobs))
        try:
            return await self._store(principal, project_id, base_id, named, blobs, once)
        except (NotFound, BadRequest, Conflict):
            await tidied(self._deletions.discard(principal.org_id, project_id, [blob.sha256 for blob in blobs]))
            raise

    async def _store(
        self,
        principal: Principal,
        project_id: UUID,
        base_id: UUID,
        named: Sequence[tuple[Upload, str]],
        blobs: Sequence[Blob],
        once: IdempotencyKey | None,
    ) -> Sequence[Item]:
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return [
                    found
                    for item_id in first["ids"]
                    if (found := await store.item(tx, principal.org_id, UUID(item_id))) is not None
                ]
            if await tx.fetchrow(SQL.share_base, principal.org_id, base_id) is None:
                raise no_base(base_id)
            # Sorted, so that two uploads with the same contents do not deadlock.
            for blob in sorted({blob.name: blob for blob in blobs}.values(), key=lambda one: one.name):
                await lock_blob(tx, blob.name)
            replaced = await self._contents_of(tx, principal, base_id, [upload for upload, _ in named])
            stored: list[Item] = []
            for (upload, name), blob in zip(named, blobs, strict=True):
                if not await self._blobs.exists(blob.name):  # A concurrent deletion may have removed the same content.
                    upload.source.seek(0)
                    await self._blobs.put(principal.org_id, project_id, upload.source)
                stored.append(await self._insert(tx, principal, project_id, base_id, upload, name, blob))
                await audit.record(
                    tx,
                    principal,
                    "knowledge_item.replace" if upload.replaces else "knowledge_item.create",
                    stored[-1].id,
                )
            if once:
                await idempotency.record(tx, principal, once, {"ids": [str(item.id) for item in stored]}, base_id)
            tx.notify(CHANNEL)
        # Where a replacement was replaced before it was read.
        await tidied(self._deletions.discard(principal.org_id, project_id, replaced))
        return stored

    async def _contents_of(
        self, tx: Tx, principal: Principal, base_id: UUID, uploads: Sequence[Upload]
    ) -> Sequence[bytes]:
        """The present contents of items that are replaced. Locks the items in the order of their ids, because two
        uploads may replace the same ones."""
        contents: list[bytes] = []
        for item_id, index in sorted(
            (upload.replaces, index) for index, upload in enumerate(uploads) if upload.replaces is not None
        ):
            row = await tx.fetchrow(SQL.lock_item, principal.org_id, item_id)
            if row is None or row["knowledgebase_id"] != base_id:  # Deleted since it was checked.
                raise _no_replaced(index)
            contents.append(row["sha256"])
        return contents

    async def _insert(
        self, tx: Tx, principal: Principal, project_id: UUID, base_id: UUID, upload: Upload, name: str, blob: Blob
    ) -> Item:
        kind = mime_type(name, upload.mime_type)
        if upload.replaces is None:
            row = await tx.fetchrow(
                SQL.insert_item,
                principal.org_id,
                project_id,
                self._ids.new(),
                base_id,
                name,
                blob.size,
                kind,
                blob.sha256,
                dict(upload.metadata or {}),
                principal.key_id,
                upload.source_id,
                upload.origin,
            )
        else:
            row = await tx.fetchrow(
                SQL.replace_item,
                principal.org_id,
                base_id,
                upload.replaces,
                name,
                blob.size,
                kind,
                blob.sha256,
                dict(upload.metadata) if upload.metadata is not None else None,
                principal.key_id,
            )
        assert row is not None, "it is locked"
        return store.item_of(row)

    async def _check_replaced(self, tx: Tx, principal: Principal, base_id: UUID, uploads: Sequence[Upload]) -> None:
        for index, upload in enumerate(uploads):
            if upload.replaces is not None:
                found = await store.item(tx, principal.org_id, upload.replaces)
                if found is None or found.knowledgebase_id != base_id:
                    raise _no_replaced(index)

    async def list(
        self,
        principal: Principal,
        base_id: UUID,
        page: PageRequest,
        statuses: Sequence[ItemStatus] | None,
        source_id: UUID | None,
    ) -> Page[Item]:
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.settings, principal.org_id, base_id) is None:
                raise no_base(base_id)
            found, total = await store.list_items(tx, principal.org_id, base_id, page, statuses, source_id)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, item_id: UUID, base_id: UUID | None = None) -> Item:
        """With a `base_id`, only an item of that base."""
        async with self._database.tenant(principal) as tx:
            found = await store.item(tx, principal.org_id, item_id)
        if found is None or base_id not in (None, found.knowledgebase_id):
            raise _no_item(item_id)
        return found

    async def set_metadata(
        self, principal: Principal, item_id: UUID, metadata: Mapping[str, Any], base_id: UUID | None = None
    ) -> Item:
        """New metadata for filters and answers, at once and without processing the item again."""
        before = await self.get(principal, item_id, base_id)
        async with self._database.tenant(principal) as tx:
            base = await tx.fetchrow(SQL.share_base, principal.org_id, before.knowledgebase_id)
            row = await tx.fetchrow(SQL.set_item_metadata, principal.org_id, item_id, dict(metadata))
            if base is None or row is None:
                raise _no_item(item_id)
            item = store.item_of(row)
            for key in keys_of(
                principal.org_id,
                base["project_id"],
                before.knowledgebase_id,
                base["generation"],
                store.building_of(base["building"]),
            ):
                await self._index.set_metadata(tx, key, item_id, item.shown_metadata)
            await audit.record(tx, principal, "knowledge_item.update", item_id)
        return item

    async def reprocess(self, principal: Principal, item_id: UUID, base_id: UUID | None = None) -> Item:
        """Reads, splits and embeds the file again; the present chunks stay searchable until then."""
        await self.get(principal, item_id, base_id)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.reprocess_item, principal.org_id, item_id, principal.key_id)
            if row is None:
                raise _no_item(item_id)
            tx.notify(CHANNEL)
            await audit.record(tx, principal, "knowledge_item.reprocess", item_id)
        return store.item_of(row)

    async def reprocess_failed(self, principal: Principal, base_id: UUID) -> int:
        """All items that failed; gives how many."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.share_base, principal.org_id, base_id) is None:
                raise no_base(base_id)
            count: int = await tx.fetchval(SQL.reprocess_failed, principal.org_id, base_id, principal.key_id)
            tx.notify(CHANNEL)
            await audit.record(tx, principal, "knowledge_item.reprocess_failed", base_id)
        return count

    async def delete(self, principal: Principal, item_id: UUID, base_id: UUID | None = None) -> UUID:
        """With its chunks, vectors and file; the next search cannot find it. Gives the receipt's id."""
        item = await self.get(principal, item_id, base_id)
        return await self._deletions.delete_items(principal, item.knowledgebase_id, [item_id])

    async def chunks(self, principal: Principal, item_id: UUID, page: PageRequest) -> Page[Chunk]:
        """An item's chunks, in the order of its text; none before it was first processed."""
        async with self._database.tenant(principal) as tx:
            item = await store.item(tx, principal.org_id, item_id)
            base = await tx.fetchrow(SQL.settings, principal.org_id, item.knowledgebase_id) if item else None
            if item is None or base is None:
                raise _no_item(item_id)
            key = BaseKey(principal.org_id, base["project_id"], item.knowledgebase_id, base["generation"])
            found, total = await self._index.chunks(tx, key, item_id, page.offset, page.page_size)
        return Page(found, page.page, page.page_size, total)

    async def content(self, item: Item) -> AsyncIterator[bytes]:
        """Raises BlobsUnavailable before the first chunk."""
        return await opened(self._blobs.read(blob_name(item.org_id, item.project_id, item.sha256)))


def _no_item(item_id: UUID) -> NotFound:
    return NotFound(f"There is no item {item_id}.")


def _no_replaced(index: int) -> BadRequest:
    return BadRequest.field(f"ids[{index}]", "is no item of this knowledge base; leave ids out to add files")
