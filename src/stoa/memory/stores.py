"""Memory stores and their files: an agent's notes about a user, each with a path. One transaction per method."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from stoa.db import Database, Tx, audit, effects, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.receipts import Receipts, Removed
from stoa.kernel.effects import EffectKey
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.memory import rules, store
from stoa.memory.ports import Projects
from stoa.memory.store import SQL
from stoa.memory.types import MemoryFile, MemoryStore


class MemoryStores:
    def __init__(self, database: Database, projects: Projects, receipts: Receipts, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._receipts = receipts
        self._ids = ids

    # --- stores -----------------------------------------------------------------------------------------------------
    async def create(
        self,
        principal: Principal,
        name: str,
        description: str | None,
        project_id: UUID | None,
        once: IdempotencyKey | None,
    ) -> MemoryStore:
        home = await self._projects.chosen(principal, project_id)
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.memory_store(tx, principal.org_id, UUID(first["id"]))
            if await tx.fetchval(SQL.count_stores, principal.org_id, home) >= rules.MEMORIES_MAX:
                raise Conflict(
                    f"This project has {rules.MEMORIES_MAX} memory stores, the most it may have; delete some."
                )
            store_id = self._ids.new()
            await tx.execute(SQL.insert_store, principal.org_id, home, store_id, name, description, principal.key_id)
            await audit.record(tx, principal, "memory_store.create", store_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(store_id)}, store_id)
            return await store.memory_store(tx, principal.org_id, store_id)

    async def list(self, principal: Principal, project_id: UUID | None, page: PageRequest) -> Page[MemoryStore]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_stores(tx, principal.org_id, project_id, page)
        return Page(found, page.page, page.page_size, total)

    async def get(self, principal: Principal, store_id: UUID) -> MemoryStore:
        async with self._database.tenant(principal) as tx:
            return await store.memory_store(tx, principal.org_id, store_id)

    async def update(self, principal: Principal, store_id: UUID, name: str, description: str | None) -> MemoryStore:
        """Replaces both fields."""
        async with self._database.tenant(principal) as tx:
            changed = await tx.fetchrow(SQL.update_store, principal.org_id, store_id, name, description)
            found = store.store_of(changed, store_id)
            await audit.record(tx, principal, "memory_store.update", store_id)
            return found

    async def delete(self, principal: Principal, store_id: UUID) -> UUID:
        """Deletes the store and its files. Returns the receipt's id."""
        async with self._database.tenant(principal) as tx:
            emptied = await tx.fetchrow(SQL.empty_store, principal.org_id, store_id)
            assert emptied is not None, "an aggregate gives a row"
            project_id = await tx.fetchval(SQL.delete_store, principal.org_id, store_id)
            if project_id is None:
                raise NotFound(f"There is no memory store {store_id}.")
            stores = {"memory_stores": (1, 0), "memory_files": (emptied["rows"], emptied["bytes"])}
            receipt = await self._receipts.write(tx, principal, Removed("memory_store", store_id, project_id, stores))
        await self._receipts.finish(principal.org_id, receipt)
        return receipt

    # --- files ------------------------------------------------------------------------------------------------------
    async def files(self, principal: Principal, store_id: UUID, user_id: str, prefix: str) -> Sequence[MemoryFile]:
        """The files of a user whose path starts with `prefix`, sorted by path, without their content."""
        async with self._database.tenant(principal) as tx:
            await store.memory_store(tx, principal.org_id, store_id)
            return await store.files(tx, principal.org_id, store_id, user_id, prefix)

    async def read(self, principal: Principal, store_id: UUID, user_id: str, path: str) -> MemoryFile:
        async with self._database.tenant(principal) as tx:
            await store.memory_store(tx, principal.org_id, store_id)
            found = await store.file(tx, principal.org_id, store_id, user_id, path)
        if found is None:
            raise _no_file(path)
        return found

    async def write(self, principal: Principal, store_id: UUID, user_id: str, path: str, content: str) -> MemoryFile:
        """Creates or replaces the file. Raises Conflict if the user already has FILES_MAX files."""
        async with self._database.tenant(principal) as tx:
            written = await self._write(tx, principal, store_id, user_id, path, content)
            await audit.record(tx, principal, "memory_file.write", written.id)
            return written

    async def remove(self, principal: Principal, store_id: UUID, user_id: str, path: str) -> UUID:
        """Returns the receipt's id."""
        async with self._database.tenant(principal) as tx:
            await store.share_store(tx, principal.org_id, store_id)
            row = await tx.fetchrow(SQL.delete_memory_file, principal.org_id, store_id, user_id, path)
            if row is None:
                raise _no_file(path)
            stores = {"memory_files": (1, row["bytes"])}
            removed = Removed("memory_file", row["id"], row["project_id"], stores)
            receipt = await self._receipts.write(tx, principal, removed)
        await self._receipts.finish(principal.org_id, receipt)
        return receipt

    async def _write(
        self, tx: Tx, principal: Principal, store_id: UUID, user_id: str, path: str, content: str
    ) -> MemoryFile:
        found = await store.share_store(tx, principal.org_id, store_id)
        await tx.execute(SQL.lock_user, store_id, user_id)
        if await tx.fetchval(SQL.count_other_files, principal.org_id, store_id, user_id, path) >= rules.FILES_MAX:
            raise Conflict(
                f"This user has {rules.FILES_MAX} files in the memory store {store_id}, the most there may be;"
                " delete some."
            )
        return await store.write_file(tx, principal.org_id, found, self._ids.new(), user_id, path, content)

    # --- for an agent's tools: each call takes effect once ----------------------------------------------------------
    async def note(
        self, principal: Principal, store_id: UUID, user_id: str, path: str, content: str, call: EffectKey
    ) -> str:
        """Writes a file. Returns the sentence that the model reads."""
        async with self._database.tenant(principal) as tx:
            if (known := await effects.found(tx, call)) is not None:
                return str(known)
            await self._write(tx, principal, store_id, user_id, path, content)
            return await _said(tx, call, f"Remembered in '{path}'.")

    async def edit(
        self,
        principal: Principal,
        store_id: UUID,
        user_id: str,
        path: str,
        change: tuple[str, str],
        call: EffectKey,
        *,
        every: bool,
    ) -> str:
        """Replaces the first text of `change` by the second. Raises NotFound, and ValueError with a sentence if the
        note cannot be edited this way."""
        async with self._database.tenant(principal) as tx:
            if (known := await effects.found(tx, call)) is not None:
                return str(known)
            await tx.execute(SQL.lock_user, store_id, user_id)  # Nothing else changes the note between read and write.
            found = await store.file(tx, principal.org_id, store_id, user_id, path)
            if found is None:
                raise _no_file(path)
            content, count = rules.edited(found.content or "", *change, every=every)
            if problem := rules.content_problem(content):
                raise ValueError(f"the note {problem}")
            await self._write(tx, principal, store_id, user_id, path, content)
            return await _said(tx, call, f"Updated '{path}' ({count} replacement{'s' if count > 1 else ''}).")

    async def drop(self, principal: Principal, store_id: UUID, user_id: str, path: str, call: EffectKey) -> str:
        """Deletes a file and writes a receipt. Returns the sentence that the model reads."""
        async with self._database.tenant(principal) as tx:
            if (known := await effects.found(tx, call)) is not None:
                return str(known)
            row = await tx.fetchrow(SQL.delete_memory_file, principal.org_id, store_id, user_id, path)
            if row is None:
                return await _said(tx, call, f"There was no note at '{path}'.")
            removed = Removed("memory_file", row["id"], row["project_id"], {"memory_files": (1, row["bytes"])})
            receipt = await self._receipts.write(tx, principal, removed)
            said = await _said(tx, call, f"Deleted '{path}'.")
        await self._receipts.finish(principal.org_id, receipt)
        return said


async def _said(tx: Tx, call: EffectKey, result: Any) -> str:
    await effects.record(tx, call, result)
    return str(result)


def _no_file(path: str) -> NotFound:
    return NotFound(f"This user has no file {path!r} in the memory store.")
