"""Knowledge bases: creation, changes, re-indexing, deletion. One transaction per method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from stoa.bases import store
from stoa.bases.deletions import Deletions
from stoa.bases.ports import Embedders, Index, Projects
from stoa.bases.rerankers import Rerankers
from stoa.bases.store import SQL
from stoa.bases.types import Building, Chunking, EmbedderSpec, KnowledgeBase, NewBase, Ocr, Retriever
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.index import BaseKey
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller sets of a base; None takes the default, or keeps what is there. `chunking` and `retriever` hold
    only what is set of them."""

    name: str | None = None
    description: str | None = None
    embedder: EmbedderSpec | None = None
    chunking: Mapping[str, Any] = field(default_factory=dict[str, Any])
    retriever: Mapping[str, Any] = field(default_factory=dict[str, Any])
    language: str | None = None
    ocr: Ocr | None = None
    no_description: bool = False
    """The description goes."""
    ingestion: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What is set of it; None removes."""


DEFAULT_CHUNKING = Chunking(characters_max=1000)
DEFAULT_RETRIEVER = Retriever(mode="hybrid", alpha=0.4, top_k=8)
DEFAULT_LANGUAGE = "english"


class KnowledgeBases:
    def __init__(
        self,
        database: Database,
        index: Index,
        embedders: Embedders,
        projects: Projects,
        deletions: Deletions,
        ids: Ids,
        rerankers: Rerankers,
    ) -> None:
        self._database = database
        self._index = index
        self._rerankers = rerankers
        self._embedders = embedders
        self._projects = projects
        self._deletions = deletions
        self._ids = ids

    async def create(
        self, principal: Principal, settings: Settings, project_id: UUID | None, once: IdempotencyKey | None
    ) -> KnowledgeBase:
        assert settings.name is not None, "the wire asks for a name"
        self._rerankers.check(settings.retriever.get("reranker"))
        home = await self._projects.chosen(principal, project_id)
        language = settings.language or DEFAULT_LANGUAGE
        chosen = settings.embedder or self._embedders.default(language)
        embedder = await self._embedders.check(principal.org_id, home, chosen)
        new = NewBase(
            settings.name,
            settings.description,
            embedder,
            replace(DEFAULT_CHUNKING, **settings.chunking),
            replace(DEFAULT_RETRIEVER, **settings.retriever),
            language,
            settings.ocr or "auto",
            _merged({}, settings.ingestion),
        )
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await one(tx, principal.org_id, UUID(first["id"]))
            base_id = self._ids.new()
            await store.insert_base(tx, principal, home, base_id, new)
            await audit.record(tx, principal, "knowledgebase.create", base_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(base_id)}, base_id)
            return await one(tx, principal.org_id, base_id)

    async def list(self, principal: Principal, page: PageRequest, project_id: UUID | None) -> Page[KnowledgeBase]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_bases(tx, principal.org_id, page, project_id)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, base_id: UUID) -> KnowledgeBase:
        async with self._database.tenant(principal) as tx:
            return await one(tx, principal.org_id, base_id)

    async def has(self, principal: Principal, base_id: UUID) -> bool:
        async with self._database.tenant(principal) as tx:
            return bool(await tx.fetch(SQL.known_bases, principal.org_id, [base_id]))

    async def update(self, principal: Principal, base_id: UUID, settings: Settings) -> KnowledgeBase:
        """Omitted fields stay. Settings of the index can only change while there are no items. Raises Conflict."""
        self._rerankers.check(settings.retriever.get("reranker"))
        before = await self.get(principal, base_id)
        embedder = settings.embedder and await self._embedders.check(
            before.org_id, before.project_id, settings.embedder
        )
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.lock_base, principal.org_id, base_id) is None:
                raise no_base(base_id)
            before = await one(tx, principal.org_id, base_id)
            new = NewBase(
                settings.name or before.name,
                None if settings.no_description else settings.description or before.description,
                embedder or before.embedder,
                replace(before.chunking, **settings.chunking),
                replace(before.retriever, **settings.retriever),
                settings.language or before.language,
                settings.ocr or before.ocr,
                _merged(before.ingestion, settings.ingestion),
            )
            changed = [
                name
                for name, old, now in (
                    ("embedder", before.embedder, new.embedder),
                    ("chunking", before.chunking, new.chunking),
                    ("language", before.language, new.language),
                )
                if old != now
            ]
            if changed and before.item_count:
                reason = (
                    f"cannot change while the base has items; POST /v1/knowledgebases/{base_id}/reindex builds the "
                    "new index beside the one that answers"
                )
                raise Conflict(f"{changed[0]} {reason}.", details=dict.fromkeys(changed, reason))
            await store.update_base(tx, principal.org_id, base_id, new)
            await audit.record(tx, principal, "knowledgebase.update", base_id)
            return await one(tx, principal.org_id, base_id)

    async def delete(self, principal: Principal, base_id: UUID) -> UUID:
        """With its items, chunks, vectors and files; gives the receipt's id."""
        await self.get(principal, base_id)
        return await self._deletions.delete_base(principal, base_id)

    # --- re-indexing ------------------------------------------------------------------------------------------------
    async def reindex(self, principal: Principal, base_id: UUID, settings: Settings) -> KnowledgeBase:
        """Builds the next generation beside the searched one. Raises Conflict if one is already being built."""
        before = await self.get(principal, base_id)
        embedder = await self._embedders.check(before.org_id, before.project_id, settings.embedder or before.embedder)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.lock_base, principal.org_id, base_id)
            if row is None:
                raise no_base(base_id)
            if row["building"] is not None:
                raise Conflict(
                    f"A re-index is under way already; DELETE /v1/knowledgebases/{base_id}/reindex cancels it."
                )
            building = Building(
                row["generation"] + 1,
                embedder,
                replace(before.chunking, **settings.chunking),
                settings.language or before.language,
            )
            await self._index.drop(tx, BaseKey(principal.org_id, before.project_id, base_id, building.generation))
            await tx.execute(SQL.begin_building, principal.org_id, base_id, store.building_json(building))
            await tx.execute(SQL.rebuild_items, principal.org_id, base_id, principal.key_id)
            tx.notify(CHANNEL)
            await audit.record(tx, principal, "knowledgebase.reindex", base_id)
            return await one(tx, principal.org_id, base_id)

    async def cancel_reindex(self, principal: Principal, base_id: UUID) -> KnowledgeBase:
        """Drops the generation that is being built; the searched one stays. Raises BadRequest if there is none."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.lock_base, principal.org_id, base_id)
            if row is None:
                raise no_base(base_id)
            building = store.building_of(row["building"])
            if building is None:
                raise BadRequest("No re-index of this knowledge base is under way.")
            await self._index.drop(tx, BaseKey(principal.org_id, row["project_id"], base_id, building.generation))
            await tx.execute(SQL.stop_building, principal.org_id, base_id)
            await tx.execute(SQL.unbuild_items, principal.org_id, base_id, row["generation"])
            await tx.execute(SQL.unbuild_replacements, principal.org_id, base_id, row["generation"])
            await audit.record(tx, principal, "knowledgebase.reindex_cancel", base_id)
            return await one(tx, principal.org_id, base_id)


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in {**before, **changes}.items() if value is not None}


CHANNEL = "stoa_knowledge"
"""Wakes the workers of every node."""


async def one(tx: Tx, org_id: UUID, base_id: UUID) -> KnowledgeBase:
    """Raises NotFound."""
    found = await store.base(tx, org_id, base_id)
    if found is None:
        raise no_base(base_id)
    return found


def no_base(base_id: UUID) -> NotFound:
    return NotFound(f"There is no knowledge base {base_id}.")


def keys_of(
    org_id: UUID, project_id: UUID, base_id: UUID, generation: int, building: Building | None
) -> Sequence[BaseKey]:
    """The indexes of a base: the one that is searched, and the one that is being built."""
    generations = [generation] if building is None else [generation, building.generation]
    return [BaseKey(org_id, project_id, base_id, number) for number in generations]
