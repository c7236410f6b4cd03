"""What changes an index. One writer at a time per index (its row is locked until the transaction ends); searches do not
wait."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

from stoa.db import Row, Tx
from stoa.index import store
from stoa.index.analysing import analyse, clean
from stoa.index.filters import metadata_terms
from stoa.index.normalizing import FORM
from stoa.index.postings import metadata_blocks, word_blocks
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, NewChunk, NewItem, Removed
from stoa.index.visibility import access_terms

_BATCH: Final = 500
"""Chunks of one statement."""


async def replace(tx: Tx, stemmer: Stemmer, key: BaseKey, item: NewItem) -> str:
    """The item's new chunks for its old ones; gives its language. Searches see all of the old until the commit, and all
    of the new after it."""
    dimensions = int(item.vectors.shape[1])
    assert item.vectors.shape == (len(item.chunks), dimensions), "one vector per chunk"
    form = await tx.fetchval(SQL.form_of, key.org_id, key.knowledgebase_id, key.generation) or FORM
    analysed = await analyse(tx, stemmer, form, item.chunks, item.language, item.title)
    index = await _lock(tx, key)
    if index is None:
        await tx.execute(
            SQL.ensure_index,
            key.org_id,
            key.project_id,
            key.knowledgebase_id,
            key.generation,
            item.embedder,
            dimensions,
            item.language,
            FORM,
        )
        index = await _lock(tx, key)
    assert index is not None, "it was just made, and is locked against its end"
    if item.chunks and (index["embedder"], index["dimensions"], index["language"], index["form"]) != (
        item.embedder,
        dimensions,
        item.language,
        form,
    ):
        form = await _settled(tx, key, index, item, dimensions)
        analysed = await analyse(tx, stemmer, form, item.chunks, item.language, item.title)
    await _remove_items(tx, key, index, await tx.fetch(SQL.items_of, key.org_id, index["index_id"], [item.item_id]))
    first, index_id = index["next_ordinal"], index["index_id"]
    last = first + len(item.chunks) - 1
    terms_of_metadata = _metadata_terms(item.metadata)
    terms = sorted(terms_of_metadata.union(*(one.terms for one in analysed.counts)))
    words = sum(one.length for one in analysed.counts)
    await tx.execute(
        SQL.insert_item,
        key.org_id,
        key.project_id,
        index_id,
        item.item_id,
        dict(item.metadata),
        first,
        last,
        words,
        terms,
        analysed.language,
        item.title,
    )
    if item.chunks:
        await tx.execute(SQL.add_language, key.org_id, index_id, analysed.language)
    await _insert_chunks(tx, key, index, item, first, dimensions)
    blocks = [*word_blocks(enumerate(analysed.counts, first)), *metadata_blocks(first, last, terms_of_metadata)]
    await store.insert_blocks(tx, key, index_id, blocks)
    await tx.execute(SQL.count_change, key.org_id, index_id, len(item.chunks), words, last + 1, len(blocks), 0)
    return analysed.language


async def _settled(tx: Tx, key: BaseKey, index: Row, item: NewItem, dimensions: int) -> int:
    """The form of an index whose settings are not the item's: an empty one takes them, any other keeps its form and
    must have the same embedder."""
    if not index["chunks"]:
        await tx.execute(
            SQL.set_settings, key.org_id, index["index_id"], item.embedder, dimensions, item.language, FORM
        )
        return FORM
    if (index["embedder"], index["dimensions"], index["language"]) != (item.embedder, dimensions, item.language):
        raise ValueError(
            f"the index was filled with {index['embedder']} ({index['dimensions']}, {index['language']}), "
            f"not with {item.embedder}"
        )
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
    added = [*metadata_blocks(first, last, now - before)]
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


async def _insert_chunks(tx: Tx, key: BaseKey, index: Row, item: NewItem, first: int, dimensions: int) -> None:
    index_id = index["index_id"]
    ids = chunk_ids(item.item_id, item.chunks)
    insert_vectors = SQL.insert_vectors.format(vectors=store.vectors_table(index).removeprefix("ONLY "))
    for start in range(0, len(item.chunks), _BATCH):
        batch = item.chunks[start : start + _BATCH]
        await tx.execute(
            SQL.insert_chunks,
            key.org_id,
            key.project_id,
            index_id,
            first + start,
            item.item_id,
            start,
            ids[start : start + _BATCH],
            [one.page for one in batch],
            [clean(one.heading) if one.heading is not None else None for one in batch],
            [clean(one.text) for one in batch],
            [one.hash for one in batch],
            [dict(one.place) if one.place is not None else None for one in batch],
        )
        flat = item.vectors[start : start + _BATCH].ravel().tolist()
        await tx.execute(
            insert_vectors, key.org_id, key.project_id, index_id, first + start, flat, dimensions, len(batch)
        )


def chunk_ids(item_id: UUID, chunks: Sequence[NewChunk]) -> list[UUID]:
    """Ids that stay while a chunk's content does, whatever happens around it: citations outlive the next version of a
    file."""
    seen: Counter[bytes] = Counter()
    found: list[UUID] = []
    for chunk in chunks:
        found.append(uuid5(item_id, f"{chunk.hash.hex()}:{seen[chunk.hash]}"))
        seen[chunk.hash] += 1
    return found
