"""Memories and their items, as the API uses them. One transaction per method."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.receipts import Receipts, Removed
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.memory import rules, store
from stoa.memory.ports import Projects
from stoa.memory.store import SQL
from stoa.memory.types import Cleared, Item, Memory, NewItem, Scope

KINDS: Final = ("memory", "memory_items", "memory_store", "memory_file")
"""Kinds of deletion receipts, which are also the nouns of the audit log."""


class Memories:
    def __init__(self, database: Database, projects: Projects, receipts: Receipts, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._receipts = receipts
        self._ids = ids

    # --- memories ---------------------------------------------------------------------------------------------------
    async def create(
        self, principal: Principal, name: str, project_id: UUID | None, once: IdempotencyKey | None
    ) -> Memory:
        home = await self._projects.chosen(principal, project_id)
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.memory(tx, principal.org_id, UUID(first["id"]))
            if await tx.fetchval(SQL.count_memories, principal.org_id, home) >= rules.MEMORIES_MAX:
                raise Conflict(f"This project has {rules.MEMORIES_MAX} memories, the most it may have; delete some.")
            memory_id = self._ids.new()
            await tx.execute(SQL.insert_memory, principal.org_id, home, memory_id, name, principal.key_id)
            await audit.record(tx, principal, "memory.create", memory_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(memory_id)}, memory_id)
            return await store.memory(tx, principal.org_id, memory_id)

    async def list(self, principal: Principal, project_id: UUID | None, page: PageRequest) -> Page[Memory]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_memories(tx, principal.org_id, project_id, page)
        return Page(found, page.page, page.page_size, total)

    async def get(self, principal: Principal, memory_id: UUID) -> Memory:
        async with self._database.tenant(principal) as tx:
            return await store.memory(tx, principal.org_id, memory_id)

    async def known(self, principal: Principal, references: Sequence[tuple[str, UUID]]) -> Collection[tuple[str, UUID]]:
        """The (kind, id) pairs that are memories or memory stores which the principal can see."""
        ids = [its_id for kind, its_id in references if kind in ("memory", "memory_store")]
        if not ids:
            return ()
        async with self._database.tenant(principal) as tx:
            return {(row["kind"], row["id"]) for row in await tx.fetch(SQL.known, principal.org_id, ids)}

    async def delete(self, principal: Principal, memory_id: UUID) -> UUID:
        """Deletes the memory and its items. Returns the receipt's id."""
        async with self._database.tenant(principal) as tx:
            emptied = await tx.fetchrow(SQL.empty_memory, principal.org_id, memory_id)
            assert emptied is not None, "an aggregate gives a row"
            project_id = await tx.fetchval(SQL.delete_memory, principal.org_id, memory_id)
            if project_id is None:
                raise NotFound(f"There is no memory {memory_id}.")
            stores = {
                "memories": (1, 0),
                "memory_items": (emptied["rows"], emptied["bytes"]),
                "idempotency_keys": (emptied["answers"], 0),
            }
            receipt = await self._receipts.write(tx, principal, Removed("memory", memory_id, project_id, stores))
        await self._receipts.finish(principal.org_id, receipt)
        return receipt

    # --- items ------------------------------------------------------------------------------------------------------
    async def add(self, principal: Principal, memory_id: UUID, new: NewItem, once: IdempotencyKey | None) -> Item:
        """Raises Conflict if the user already has ITEMS_MAX items."""
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.item(tx, principal.org_id, UUID(first["id"]))
            found = await store.share_memory(tx, principal.org_id, memory_id)
            await self._check_room(tx, principal.org_id, memory_id, new.user_id)
            item_id = self._ids.new()
            await store.insert_items(tx, principal.org_id, found.project_id, memory_id, [(item_id, new)])
            await audit.record(tx, principal, "memory_item.create", item_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(item_id)}, item_id)
            return await store.item(tx, principal.org_id, item_id)

    async def _check_room(self, tx: Tx, org_id: UUID, memory_id: UUID, user_id: str) -> None:
        await tx.execute(SQL.lock_user, memory_id, user_id)
        if await tx.fetchval(SQL.count_items_of_user, org_id, memory_id, user_id) >= rules.ITEMS_MAX:
            raise Conflict(
                f"This user has {rules.ITEMS_MAX} items in the memory {memory_id}, the most there may be;"
                f" delete some (DELETE /v1/memories/{memory_id}/items)."
            )

    async def items(self, principal: Principal, memory_id: UUID, scope: Scope, page: PageRequest) -> Page[Item]:
        async with self._database.tenant(principal) as tx:
            await store.memory(tx, principal.org_id, memory_id)
            found = await store.list_items(tx, principal.org_id, memory_id, scope, page)
            total = await tx.fetchval(SQL.count_items, *store.in_scope(principal.org_id, memory_id, scope))
        return Page(found, page.page, page.page_size, total)

    async def clear(self, principal: Principal, memory_id: UUID, scope: Scope) -> Cleared:
        """Removes the items of a scope. An empty scope is no error."""
        async with self._database.tenant(principal) as tx:
            found = await store.share_memory(tx, principal.org_id, memory_id)
            gone = await tx.fetch(SQL.delete_items, *store.in_scope(principal.org_id, memory_id, scope))
            if not gone:
                return Cleared(0, None)
            stores = {"memory_items": (len(gone), sum(row["bytes"] for row in gone))}
            ids = [row["id"] for row in gone]
            removed = Removed("memory_items", memory_id, found.project_id, stores, ids, gone=False)
            receipt = await self._receipts.write(tx, principal, removed)
        await self._receipts.finish(principal.org_id, receipt)
        return Cleared(len(gone), receipt)
