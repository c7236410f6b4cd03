"""What changes an index. One writer at a time per index (its row is locked until the transaction ends); searches do not
wait."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, pairwise
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from stoa.db import Row, Tx
from stoa.index import store
from stoa.index.analysing import Analysed, Text, analyse, clean
from stoa.index.filters import metadata_terms
from stoa.index.normalizing import FORM
from stoa.index.postings import metadata_blocks, word_blocks
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, NewChunk, NewItem, Removed
from stoa.index.visibility import access_terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH: Final = 500
"""Chunks of one statement."""


async def replace(tx: Tx, stemmer: Stemmer, key: BaseKey, items: Sequence[NewItem]) -> Sequence[str]:
    """The new chunks of items for their old ones; gives each one's language. Searches see all of the old until the
    commit, and all of the new after it."""
    settings = _settings(items)
    texts = [Text(item.chunks, item.language, item.title) for item in items]
    form = await tx.fetchval(SQL.form_of, key.org_id, key.knowledgebase_id, key.generation) or FORM
    analysed = await analyse(tx, stemmer, form, texts)
    index = await _lock(tx, key)
    if index is None:
        await tx.execute(
            SQL.ensure_index, key.org_id, key.project_id, key.knowledgebase_id, key.generation, *settings, FORM
        )
        index = await _lock(tx, key)
    assert index is not None, "it was just made, and is locked against its end"
    if any(item.chunks for item in items) and (*_of_index(index), index["form"]) != (*settings, form):
        form = await _settled(tx, key, index, settings)
        analysed = await analyse(tx, stemmer, form, texts)
    ids = [item.item_id for item in items]
    await _remove_items(tx, key, index, await tx.fetch(SQL.items_of, key.org_id, index["index_id"], ids))
    await _insert(tx, key, index, [_Analysed(*one) for one in zip(items, analysed, strict=True)])
    return [one.language for one in analysed]


@dataclass(frozen=True, slots=True)
class _Analysed:
    item: NewItem
    analysed: Analysed

    @property
    def words(self) -> int:
        return sum(one.length for one in self.analysed.counts)


async def _insert(tx: Tx, key: BaseKey, index: Row, items: Sequence[_Analysed]) -> None:
    """Items that have no chunks in the index. Their ordinals follow one another."""
    index_id, first = index["index_id"], index["next_ordinal"]
    lasts = list(accumulate((len(one.item.chunks) for one in items), initial=first - 1))
    ranges = [(before + 1, last) for before, last in pairwise(lasts)]
    metadata = [_metadata_terms(one.item.metadata) for one in items]
    terms = [
        sorted(of_item.union(*(counts.terms for counts in one.analysed.counts)))
        for one, of_item in zip(items, metadata, strict=True)
    ]
    ends = list(accumulate(map(len, terms), initial=0))
    await tx.execute(
        SQL.insert_items,
        key.org_id,
        key.project_id,
        index_id,
        [one.item.item_id for one in items],
        [dict(one.item.metadata) for one in items],
        [start for start, _ in ranges],
        [last for _, last in ranges],
        [one.words for one in items],
        list(chain.from_iterable(terms)),
        [end + 1 for end in ends[:-1]],
        ends[1:],
        [one.analysed.language for one in items],
        [one.item.title for one in items],
    )
    languages = {one.analysed.language for one in items if one.item.chunks}
    if new := sorted(languages.difference(index["languages"])):
        await tx.execute(SQL.add_languages, key.org_id, index_id, new)
    await _insert_chunks(tx, key, index, [one.item for one in items])
    counts = chain.from_iterable(one.analysed.counts for one in items)
    of_items = [(*span, ones) for span, ones in zip(ranges, metadata, strict=True)]
    blocks = [*word_blocks(enumerate(counts, first)), *metadata_blocks(of_items)]
    await store.insert_blocks(tx, key, index_id, blocks)
    added = lasts[-1] + 1 - first
    words = sum(one.words for one in items)
    await tx.execute(SQL.count_change, key.org_id, index_id, added, words, first + added, len(blocks), 0)


def _settings(items: Sequence[NewItem]) -> tuple[str, int, str]:
    """Embedder, dimensions and language of items that go into one index."""
    for item in items:
        assert item.vectors.shape == (len(item.chunks), item.vectors.shape[1]), "one vector per chunk"
    found = {(item.embedder, int(item.vectors.shape[1]), item.language) for item in items}
    assert len(found) == 1, "items of one statement have the same embedder and base language"
    return found.pop()


def _of_index(index: Row) -> tuple[str, int, str]:
    return index["embedder"], index["dimensions"], index["language"]


async def _settled(tx: Tx, key: BaseKey, index: Row, settings: tuple[str, int, str]) -> int:
    """The form of an index whose settings are not the items': an empty one takes them, any other keeps its form and
    must have the same embedder."""
    if not index["chunks"]:
        await tx.execute(SQL.set_settings, key.org_id, index["index_id"], *settings, FORM)
        return FORM
    if _of_index(index) != settings:
        raise ValueError(f"the index was filled with {_of_index(index)}, not with {settings}")
    return index["form"]


async def remove(tx: Tx, key: BaseKey, item_ids: Sequence[UUID]) -> Removed:
    index = await _lock(tx, key)
    if index is None:
        return Removed(0, 0)
    return await _remove_items(
        tx, key, index, await tx.fetch(SQL.items_of, key.org_id, index["index_id"], list(item_ids))
    )


async def drop(tx: Tx, key: BaseKey) -> Removed:
    """The whole index."""
    index = await _lock(tx, key)
    if index is None:
        return Removed(0, 0)
    measured = await tx.fetchrow(SQL.measure.format(vectors=store.vectors_table(index)), key.org_id, index["index_id"])
    assert measured is not None
    # A table of its own goes later (upkeep.py), empty: a search that began before this transaction still reads its
    # rows.
    vectors = SQL.drop_vectors.format(vectors=store.vectors_table(index))
    for statement in (SQL.drop_items, SQL.drop_chunks, vectors, SQL.drop_postings, SQL.delete_index):
        await tx.execute(statement, key.org_id, index["index_id"])
    return Removed(measured["chunks"], measured["text_bytes"] + measured["vector_bytes"])


async def set_metadata(tx: Tx, key: BaseKey, item_id: UUID, metadata: Mapping[str, Any]) -> None:
    """What filters and answers see of an item, without touching its chunks. Nothing where it has none in this index."""
    index = await _lock(tx, key)
    rows = await tx.fetch(SQL.items_of, key.org_id, index["index_id"], [item_id]) if index is not None else []
    if index is None or not rows:
        return
    [item], index_id = rows, index["index_id"]
    # Only what is stored counts as before: an item that an older version wrote lacks terms that are written today.
    before, now = _metadata_terms(item["metadata"]) & set(item["terms"]), _metadata_terms(metadata)
    first, last = item["first_ordinal"], item["last_ordinal"]
    await _cut_postings(tx, key, index_id, sorted(before - now), first, last)
    added = [*metadata_blocks([(first, last, now - before)])]
    await store.insert_blocks(tx, key, index_id, added)
    terms = sorted((set(item["terms"]) - before) | now)
    await tx.execute(SQL.set_metadata, key.org_id, index_id, item_id, dict(metadata), terms)
    await tx.execute(SQL.count_change, key.org_id, index_id, 0, 0, index["next_ordinal"], len(added), 0)


def _metadata_terms(metadata: Mapping[str, Any]) -> set[str]:
    return metadata_terms(metadata) | access_terms(metadata)


async def _lock(tx: Tx, key: BaseKey) -> Row | None:
    return await tx.fetchrow(SQL.lock_index, key.org_id, key.knowledgebase_id, key.generation)


async def _remove_items(tx: Tx, key: BaseKey, index: Row, items: Sequence[Row]) -> Removed:
    """Each item's chunks are one range of ordinals, and its terms are written down: what is removed is found without a
    search."""
    chunks = words = size = 0
    index_id = index["index_id"]
    for item in items:
        first, last = item["first_ordinal"], item["last_ordinal"]
        gone = await tx.fetchrow(SQL.delete_chunks, key.org_id, index_id, first, last)
        assert gone is not None
        vectors: int = await tx.fetchval(
            SQL.delete_vectors.format(vectors=store.vectors_table(index)), key.org_id, index_id, first, last
        )
        await _cut_postings(tx, key, index_id, item["terms"], first, last)
        chunks, words, size = chunks + gone["chunks"], words + item["words"], size + gone["bytes"] + vectors
    if items:
        await tx.execute(SQL.delete_items, key.org_id, index_id, [item["item_id"] for item in items])
        await tx.execute(SQL.count_change, key.org_id, index_id, -chunks, -words, index["next_ordinal"], 0, chunks)
    return Removed(chunks, size)


async def _cut_postings(tx: Tx, key: BaseKey, index_id: int, terms: Sequence[str], first: int, last: int) -> None:
    if last < first or not terms:
        return
    from stoa.index.scoring import without  # noqa: PLC0415 — NumPy: the server starts without it

    blocks = await store.blocks_of(tx, key.org_id, index_id, terms, first, last)
    cut = [rest for block in blocks if (rest := without(block, first, last)) is not block]
    await store.delete_blocks(tx, key.org_id, index_id, [block for block in cut if not block.records])
    await store.set_records(tx, key.org_id, index_id, [block for block in cut if block.records])


async def _insert_chunks(tx: Tx, key: BaseKey, index: Row, items: Sequence[NewItem]) -> None:
    index_id, ordinal = index["index_id"], index["next_ordinal"]
    insert_vectors = SQL.insert_vectors.format(vectors=store.vectors_table(index).removeprefix("ONLY "))
    for batch in _batches(items):
        chunks = [one.chunk for one in batch]
        await tx.execute(
            SQL.insert_chunks,
            key.org_id,
            key.project_id,
            index_id,
            ordinal,
            [one.item_id for one in batch],
            [one.position for one in batch],
            [one.chunk_id for one in batch],
            [one.page for one in chunks],
            [clean(one.heading) if one.heading is not None else None for one in chunks],
            [clean(one.text) for one in chunks],
            [one.hash for one in chunks],
            [dict(one.place) if one.place is not None else None for one in chunks],
        )
        flat = [number for one in batch for number in one.vector.tolist()]
        dimensions = len(flat) // len(batch)
        await tx.execute(insert_vectors, key.org_id, key.project_id, index_id, ordinal, flat, dimensions, len(batch))
        ordinal += len(batch)


@dataclass(frozen=True, slots=True)
class _Placed:
    item_id: UUID
    position: int
    chunk_id: UUID
    chunk: NewChunk
    vector: "NDArray[np.float32]"


def _batches(items: Sequence[NewItem]) -> Iterator[Sequence[_Placed]]:
    """The chunks of items, in their order, in the batches of one statement."""
    placed = (
        _Placed(item.item_id, position, chunk_id, chunk, vector)
        for item in items
        for position, (chunk_id, chunk, vector) in enumerate(
            zip(chunk_ids(item.item_id, item.chunks), item.chunks, item.vectors, strict=True)
        )
    )
    while batch := list(islice(placed, _BATCH)):
        yield batch


def chunk_ids(item_id: UUID, chunks: Sequence[NewChunk]) -> list[UUID]:
    """Ids that stay while a chunk's content does, whatever happens around it: citations outlive the next version of a
    file."""
    seen: Counter[bytes] = Counter()
    found: list[UUID] = []
    for chunk in chunks:
        found.append(uuid5(item_id, f"{chunk.hash.hex()}:{seen[chunk.hash]}"))
        seen[chunk.hash] += 1
    return found
