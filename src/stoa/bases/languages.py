"""Changes the embedder of a base that was chosen automatically, when its items are in other languages."""

from collections.abc import Mapping
from typing import Final

import structlog

from stoa.bases import store
from stoa.bases.embedders import ENGLISH
from stoa.bases.ports import Embedders, Index
from stoa.bases.service import CHANNEL
from stoa.bases.store import SQL
from stoa.bases.types import Building, Chunking, Item
from stoa.db import Database
from stoa.db.internal import internal
from stoa.index import BaseKey
from stoa.kernel.errors import BadRequest

OTHERS_SHARE: Final = 0.2
"""The share of items in other languages from which on all are embedded again: a single French file among a thousand
English ones is not enough."""
_log = structlog.get_logger("stoa.bases.languages")


class LanguageChoice:
    def __init__(self, database: Database, index: Index, embedders: Embedders) -> None:
        self._database = database
        self._index = index
        self._embedders = embedders

    async def consider(self, item: Item, key: BaseKey, language: str) -> None:
        """Called after an item in `language` was added to the searched index `key`: starts a re-index if the base
        should have another embedder. Searches use the old index meanwhile."""
        if language == ENGLISH:
            return
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            if row is None:
                return
            wanted = self._embedders.for_other_languages(store.embedder_of(row["embedder"]))
            if wanted is None or not _are_many(await self._index.languages(tx, key)):
                return
        try:
            wanted = await self._embedders.check(item.org_id, item.project_id, wanted)
        except BadRequest as error:  # Its file is damaged: the base stays as it is.
            _log.warning("no embedder for other languages", reason=error.message)
            return
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.lock_base, item.org_id, item.knowledgebase_id)
            if (
                row is None
                or row["building"] is not None
                or row["generation"] != key.generation
                or self._embedders.for_other_languages(store.embedder_of(row["embedder"])) is None
            ):
                return
            building = Building(key.generation + 1, wanted, Chunking(**row["chunking"]), row["language"])
            next_key = BaseKey(key.org_id, key.project_id, key.knowledgebase_id, building.generation)
            await self._index.drop(tx, next_key)
            await tx.execute(SQL.begin_building, key.org_id, key.knowledgebase_id, store.building_json(building))
            await tx.execute(SQL.rebuild_items, key.org_id, key.knowledgebase_id, item.paid_by)
            tx.notify(CHANNEL)
        _log.info("re-index for other languages", knowledgebase_id=str(key.knowledgebase_id), embedder=wanted.model)


def _are_many(items: Mapping[str, int]) -> bool:
    return sum(items.values()) - items.get(ENGLISH, 0) >= OTHERS_SHARE * sum(items.values())
