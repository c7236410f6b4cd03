"""Creates, changes, syncs and deletes sources.

One transaction per method, except for deletions of many items.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

import orjson

from stoa.db import Database, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.sources import rules, store
from stoa.sources.ports import Deletions, Origins, Vault
from stoa.sources.store import SQL
from stoa.sources.types import NewSource, Source, Sync

CHANNEL: Final = "stoa_sources"
"""The notification channel. Its payload is empty for a pending sync, or the id of a sync to be canceled."""


class Sources:
    def __init__(
        self, database: Database, vault: Vault, origins: Origins, deletions: Deletions, ids: Ids, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._origins = origins
        self._deletions = deletions
        self._ids = ids
        self._clock = clock

    async def create(self, principal: Principal, base_id: UUID, new: NewSource, once: IdempotencyKey | None) -> Source:
        await self._origins.check(new.provider, new.config, frozenset(new.secrets or ()))
        async with self._database.tenant(principal) as tx:
            project_id = await tx.fetchval(SQL.base_project, principal.org_id, base_id)
            if project_id is None:
                raise NotFound(f"There is no knowledge base {base_id}.")
            if once and (first := await idempotency.claim(tx, principal, once)):
                return _found(await store.source(tx, principal.org_id, UUID(first["id"])), UUID(first["id"]))
            source_id = self._ids.new()
            await tx.execute(
                SQL.insert_source,
                principal.org_id,
                project_id,
                source_id,
                base_id,
                new.name,
                new.provider.value,
                dict(new.config),
                dict(new.metadata),
                self._seal(source_id, new.secrets),
                sorted(new.secrets or ()),
                new.schedule,
                new.timezone,
                rules.first_sync(new.schedule, new.timezone, self._clock.now()),
                principal.key_id,
            )
            tx.notify(CHANNEL)
            await audit.record(tx, principal, "knowledge_source.create", source_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(source_id)}, base_id)
            return _found(await store.source(tx, principal.org_id, source_id), source_id)

    async def list(self, principal: Principal, base_id: UUID, page: PageRequest) -> Page[Source]:
        async with self._database.tenant(principal) as tx:
            if not await tx.fetchval(SQL.has_base, principal.org_id, base_id):
                raise NotFound(f"There is no knowledge base {base_id}.")
            found, total = await store.list_sources(tx, principal.org_id, base_id, page)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, source_id: UUID) -> Source:
        async with self._database.tenant(principal) as tx:
            return _found(await store.source(tx, principal.org_id, source_id), source_id)

    async def update(self, principal: Principal, source_id: UUID, new: NewSource) -> Source:
        """Replaces the whole definition; secrets that are left out stay. An active sync keeps what it has read."""
        before = await self.get(principal, source_id)
        if new.provider is not before.provider:
            raise BadRequest.field(
                "provider", f"cannot change: this source is of {before.provider}; make another source instead"
            )
        await self._origins.check(
            new.provider, new.config, frozenset(before.secret_names if new.secrets is None else new.secrets)
        )
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.lock_source, principal.org_id, source_id)
            if row is None:
                raise _missing(source_id)
            was, becomes = (self._origins.origin(new.provider, config) for config in (row["config"], new.config))
            moved = rules.check_origin(was, becomes, wanted=bool(row["secret_names"]) and new.secrets is None)
            same = (row["config"], row["metadata"]) == (dict(new.config), dict(new.metadata)) and new.secrets is None
            due = before.next_sync_at
            if (row["schedule"], row["timezone"]) != (new.schedule, new.timezone):
                due = rules.first_sync(new.schedule, new.timezone, self._clock.now())
            await tx.execute(
                SQL.update_source,
                principal.org_id,
                source_id,
                new.name,
                dict(new.config),
                dict(new.metadata),
                self._seal(source_id, new.secrets) if new.secrets is not None else None,
                sorted(new.secrets or ()),
                new.schedule,
                new.timezone,
                due,
                row["revision"] + (not same),
            )
            await audit.record(tx, principal, "knowledge_source.update", source_id)
            if moved:
                await audit.record(tx, principal, "knowledge_source.move", source_id)
            return _found(await store.source(tx, principal.org_id, source_id), source_id)

    async def delete(self, principal: Principal, source_id: UUID, *, keep_items: bool) -> UUID | None:
        """Deletes it with its items, unless they are kept; returns the receipt's id where items were deleted.

        Where the node dies, another continues.
        """
        async with self._database.tenant(principal) as tx:
            base_id = await tx.fetchval(
                SQL.begin_deleting, principal.org_id, source_id, "keep" if keep_items else "delete"
            )
            if base_id is None:
                raise _missing(source_id)
            await tx.execute(SQL.stop_syncs, principal.org_id, source_id)
            await audit.record(tx, principal, "knowledge_source.delete", source_id)
            tx.notify(CHANNEL, str(source_id))
        return await self.finish_deleting(principal, base_id, source_id)

    async def finish_deleting(self, principal: Principal, base_id: UUID, source_id: UUID) -> UUID | None:
        """Idempotent, also on two nodes at once."""
        deletion_id: UUID | None = None
        while True:
            async with self._database.tenant(principal) as tx:
                mode = await tx.fetchval(SQL.lock_deleting, principal.org_id, source_id)
                items = (
                    [row["id"] for row in await tx.fetch(SQL.items_of_source, principal.org_id, source_id)]
                    if mode == "delete"
                    else []
                )
                if mode is not None and not items:
                    await tx.execute(SQL.delete_source, principal.org_id, source_id)
            if not items:
                await self._origins.forget(source_id)
                return deletion_id
            with suppress(NotFound):  # Another node deleted them first.
                deletion_id = await self._deletions.delete_items(principal, base_id, items)

    # --- syncs ------------------------------------------------------------------------------------------------------
    async def sync(self, principal: Principal, source_id: UUID, *, confirm_deletions: bool) -> Sync:
        """Starts a sync, or returns the active one."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.lock_source, principal.org_id, source_id)
            source = await store.source(tx, principal.org_id, source_id)
            if row is None or source is None:
                raise _missing(source_id)
            made = await tx.fetchrow(
                SQL.insert_sync,
                principal.org_id,
                source.project_id,
                self._ids.new(),
                source_id,
                "manual",
                confirm_deletions,
                principal.key_id,
            )
            if made is None:
                # None only when the active one ended between the two statements: then return its outcome.
                made = await tx.fetchrow(SQL.confirm_active, principal.org_id, source_id, confirm_deletions)
                if made is None:
                    assert source.sync is not None
                    return source.sync
            else:
                await audit.record(tx, principal, "knowledge_source.sync", source_id)
            tx.notify(CHANNEL)
        return store.sync_of(made)

    async def cancel(self, principal: Principal, source_id: UUID) -> Sync:
        """Keeps what was synced so far. Returns the last sync unchanged where none is active."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.cancel_sync, principal.org_id, source_id)
            if row is None:
                return _synced(_found(await store.source(tx, principal.org_id, source_id), source_id))
            tx.notify(CHANNEL, str(row["id"]))
            await audit.record(tx, principal, "knowledge_source.cancel", source_id)
        return store.sync_of(row)

    async def latest_sync(self, principal: Principal, source_id: UUID) -> Sync:
        return _synced(await self.get(principal, source_id))

    async def syncs(self, principal: Principal, source_id: UUID, page: PageRequest) -> Page[Sync]:
        async with self._database.tenant(principal) as tx:
            _found(await store.source(tx, principal.org_id, source_id), source_id)
            found, total = await store.list_syncs(tx, principal.org_id, source_id, page)
        return Page.counted(found, page, total)

    async def failures(
        self, principal: Principal, source_id: UUID, page: PageRequest
    ) -> Page[tuple[str, Mapping[str, str]]]:
        """The addresses that the last sync could not read, with the reasons."""
        async with self._database.tenant(principal) as tx:
            _found(await store.source(tx, principal.org_id, source_id), source_id)
            rows = await tx.fetch(SQL.list_failures, principal.org_id, source_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_failures, principal.org_id, source_id)
        found: Sequence[tuple[str, Mapping[str, str]]] = [(row["origin"], row["error"]) for row in rows]
        return Page.counted(found, page, total)

    def _seal(self, source_id: UUID, secrets: Mapping[str, str] | None) -> bytes | None:
        return self._vault.seal(source_id, orjson.dumps(secrets).decode()) if secrets is not None else None


def _found(source: Source | None, source_id: UUID) -> Source:
    if source is None:
        raise _missing(source_id)
    return source


def _synced(source: Source) -> Sync:
    if source.sync is None:
        raise NotFound(
            f"The source {source.id} has not been synced yet; POST /v1/knowledgebase-sources/{source.id}/sync begins."
        )
    return source.sync


def _missing(source_id: UUID) -> NotFound:
    return NotFound(f"There is no source {source_id}.")
