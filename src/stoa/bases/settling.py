"""Settles items whose content is prepared: swaps the chunks in the index, and marks the item as processed.

Small items of one base that are ready at the same time share a transaction. Each is checked by its own fence in it:
an item that was replaced, deleted or claimed elsewhere is left out, and the others are settled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import orjson

from stoa.bases import rules, store
from stoa.bases.deletions import Deletions
from stoa.bases.languages import LanguageChoice
from stoa.bases.metrics import IngestionMetrics
from stoa.bases.ports import Index
from stoa.bases.preparing import Prepared
from stoa.bases.store import SQL
from stoa.bases.types import Item
from stoa.db import Database, Row, Tx
from stoa.db.blob_checks import tidied
from stoa.db.internal import internal
from stoa.db.leases import Superseded
from stoa.index import BaseKey
from stoa.kernel.joining import JoinedByKey

_ITEMS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class _Index:
    """Items of the same index and settings can be written together."""

    key: BaseKey
    embedder: str
    dimensions: int
    language: str


@dataclass(frozen=True, slots=True)
class _Ready:
    item: Item
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class _Settled:
    """`key` and `language` are those of the index that is searched; None if it did not change."""

    chunks: int
    key: BaseKey | None
    language: str | None


class _Not(Enum):
    SUPERSEDED = "superseded"
    ALONE = "alone"
    """The base is being re-indexed, or was meanwhile: the item needs a transaction of its own."""


class Settling:
    def __init__(
        self,
        database: Database,
        index: Index,
        deletions: Deletions,
        language_choice: LanguageChoice,
        tally: IngestionMetrics,
    ) -> None:
        self._database = database
        self._index = index
        self._deletions = deletions
        self._language_choice = language_choice
        self._tally = tally
        self._joined = JoinedByKey("knowledge.settle", self._together, items_max=_ITEMS_MAX)

    async def finished(self) -> None:
        """Waits for transactions whose callers are gone, for a shutdown."""
        await self._joined.finished()

    async def settle(self, item: Item, prepared: Sequence[Prepared]) -> None:
        """Raises Superseded. After a failed attempt an item is settled alone, so that it cannot fail others again."""
        settled: _Settled | _Not | None = _Not.ALONE
        if item.attempt == 1 and len(prepared) == 1 and len(prepared[0].new.chunks) <= rules.SMALL_CHUNKS:
            [one] = prepared
            index = _Index(one.target.key, one.new.embedder, int(one.new.vectors.shape[1]), one.new.language)
            settled = await self._joined.do(index, _Ready(item, one))
        if settled is _Not.SUPERSEDED:
            raise Superseded
        if settled is _Not.ALONE:
            settled = await self._one(item, prepared)
        if not isinstance(settled, _Settled):
            return
        self._tally.items.add("processed", "")
        self._tally.chunks.add(by=settled.chunks)
        if item.served_sha256 not in (None, item.sha256):
            await tidied(self._deletions.discard(item.org_id, item.project_id, [item.served_sha256]))
        if settled.key is not None and settled.language is not None:
            await self._language_choice.consider(item, settled.key, settled.language)

    async def _together(self, index: _Index, ready: Sequence[_Ready]) -> Sequence[_Settled | _Not]:
        key = index.key
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, key.org_id, key.knowledgebase_id)
            if base is not None and (base["building"] is not None or base["generation"] != key.generation):
                return [_Not.ALONE] * len(ready)
            rows = await tx.fetch(SQL.lock_items, key.org_id, [one.item.id for one in ready]) if base else []
            current = {row["id"]: row for row in rows}
            owned = [one for one in ready if is_owned(current.get(one.item.id), one.item)]
            if not owned:
                return [_Not.SUPERSEDED] * len(ready)
            # The metadata may have been changed while the files were read.
            new = [
                replace(one.prepared.new, metadata=store.item_of(current[one.item.id]).shown_metadata) for one in owned
            ]
            languages = await self._index.replace(tx, key, *new)
            await self._mark(tx, key, owned)
        settled = {
            one.item.id: _Settled(len(one.prepared.new.chunks), key, language)
            for one, language in zip(owned, languages, strict=True)
        }
        return [settled.get(one.item.id, _Not.SUPERSEDED) for one in ready]

    async def _mark(self, tx: Tx, key: BaseKey, owned: Sequence[_Ready]) -> None:
        ids = [one.item.id for one in owned]
        await tx.execute(SQL.forget_transcripts, key.org_id, ids, [one.item.sha256 for one in owned])
        await tx.execute(
            SQL.settle_items,
            key.org_id,
            key.generation,
            ids,
            [one.prepared.converted.pages for one in owned],
            [len(one.prepared.new.chunks) for one in owned],
            [_as_text(one.prepared.converted.warnings) for one in owned],
        )

    async def _one(self, item: Item, prepared: Sequence[Prepared]) -> _Settled | None:
        """In a transaction of its own; None if it has to be prepared again, because the base was re-indexed
        meanwhile."""
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            if base is None:
                raise Superseded
            building = store.building_of(base["building"])
            newest = building.generation if building is not None else base["generation"]
            current = await locked(tx, item)
            made = {one.target.key.generation: one for one in prepared}
            if newest not in made:
                await tx.execute(SQL.postpone, *fence(item), 0.0, None)
                return None
            live = {generation: made[generation] for generation in (base["generation"], newest) if generation in made}
            languages: dict[int, str] = {}
            for generation, one in live.items():
                # The metadata may have been changed while the file was read.
                new = replace(one.new, metadata=current.shown_metadata)
                [languages[generation]] = await self._index.replace(tx, one.target.key, new)
            served, built = live.get(base["generation"]), live.get(newest) if building is not None else None
            converted = live[newest].converted
            await tx.execute(SQL.forget_transcripts, item.org_id, [item.id], [item.sha256])
            await tx.execute(
                SQL.settle,
                *fence(item),
                converted.pages,
                len(served.new.chunks) if served else None,
                len(built.new.chunks) if built else None,
                list(converted.warnings) or None,
                newest,
            )
        chunks = sum(len(one.new.chunks) for one in live.values())
        if building is not None or served is None:
            return _Settled(chunks, None, None)
        return _Settled(chunks, served.target.key, languages[base["generation"]])


def fence(item: Item) -> tuple[object, ...]:
    return (item.org_id, item.id, item.version, item.attempt, item.node_id)


def is_owned(row: Row | None, item: Item) -> bool:
    """Whether the worker that claimed the item in this version and attempt still owns it."""
    return row is not None and (row["version"], row["attempt"], row["node_id"]) == (
        item.version,
        item.attempt,
        item.node_id,
    )


async def locked(tx: Tx, item: Item) -> Item:
    """Locks the item's row. Raises Superseded if this worker no longer owns it."""
    row = await tx.fetchrow(SQL.lock_item, item.org_id, item.id)
    if row is None or not is_owned(row, item):
        raise Superseded
    return store.item_of(row)


def _as_text(warnings: Sequence[str]) -> str | None:
    """A list of lists would become a two-dimensional array."""
    return orjson.dumps(list(warnings)).decode() if warnings else None
