"""The index: chunks, vectors and words of every knowledge base, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from stoa.db import Tx
from stoa.index import writing
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, Chunk, Found, NewItem, Query, Removed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stoa.index.searching import IndexRowCache

RESCAN_RECORDS_MAX: Final = 4_000_000
"""Postings that a re-scan reads of one index: 32 MB, some 50,000 chunks."""


class Index:
    """Every method runs in the transaction that it is given. The only state is what is remembered: stems, and the rows
    of indexes that were searched."""

    def __init__(self) -> None:
        self._stemmer = Stemmer()
        self._row_cache: IndexRowCache | None = None

    async def replace(self, tx: Tx, key: BaseKey, *items: NewItem) -> Sequence[str]:
        """Replaces the old chunks of items, if any; returns each one's language. All items have the same embedder and
        base language. Searches see either all old or all new chunks."""
        return await writing.replace(tx, self._stemmer, key, items)

    async def languages(self, tx: Tx, key: BaseKey) -> Mapping[str, int]:
        """How many items there are in each language."""
        rows = await tx.fetch(SQL.languages_of, key.org_id, key.knowledgebase_id, key.generation)
        return {row["language"]: row["items"] for row in rows}

    async def chunks(self, tx: Tx, key: BaseKey, item_id: UUID, offset: int, limit: int) -> tuple[Sequence[Chunk], int]:
        """Some chunks of an item, in their order, and how many it has; none of an item that is not there, or past its
        end."""
        rows = await tx.fetch(
            SQL.chunks_of_item, key.org_id, key.knowledgebase_id, key.generation, item_id, offset, limit
        )
        found = [Chunk(row["id"], row["position"], row["page"], row["heading"], row["text"]) for row in rows]
        return found, rows[0]["total"] if rows else 0

    async def remove(self, tx: Tx, key: BaseKey, item_ids: Sequence[UUID]) -> Removed:
        """Removes items with their chunks, vectors and postings; missing ones are ignored."""
        return await writing.remove(tx, key, item_ids)

    async def drop(self, tx: Tx, key: BaseKey) -> Removed:
        """The whole index."""
        return await writing.drop(tx, key)

    async def set_metadata(self, tx: Tx, key: BaseKey, item_id: UUID, metadata: Mapping[str, Any]) -> None:
        """Sets the metadata of an item for filters and results."""
        await writing.set_metadata(tx, key, item_id, metadata)

    async def known(
        self, tx: Tx, org_id: UUID, project_id: UUID, embedder: str, hashes: Sequence[bytes]
    ) -> "Mapping[bytes, NDArray[np.float32]]":
        """Existing vectors of these contents by this embedder, anywhere in the project."""
        from stoa.index.scoring import unpacked_vector  # noqa: PLC0415 — NumPy: the server starts without it

        rows = await tx.fetch(SQL.known, org_id, project_id, embedder, list(hashes))
        return {row["hash"]: unpacked_vector(row["vector"]) for row in rows}

    async def left_over(self, tx: Tx, org_id: UUID, base_id: UUID, item_ids: Sequence[UUID]) -> int:
        """Counts remains of deleted items: their rows, and vectors and postings whose chunk does not exist.

        For a deleted base: all its remains.
        """
        from stoa.index.scoring import count_dangling  # noqa: PLC0415 — NumPy: the server starts without it

        count: int = await tx.fetchval(SQL.left_over, org_id, base_id, list(item_ids)) + await tx.fetchval(
            SQL.orphans, org_id
        )
        for index in await tx.fetch(SQL.indexes_of, org_id, base_id):
            live = [row["ordinal"] for row in await tx.fetch(SQL.ordinals, org_id, index["index_id"])]
            blocks = await tx.fetch(SQL.frequent_blocks, org_id, index["index_id"], RESCAN_RECORDS_MAX)
            count += count_dangling([row["records"] for row in blocks], live)
        return count

    async def search(self, tx: Tx, key: BaseKey, query: Query, query_vector: "NDArray[np.float32] | None") -> Found:
        """Best first. `query_vector` is the query's, of the index's embedder; keyword searches need none. Raises
        BadRequest for a filter that is none."""
        from stoa.index import searching  # noqa: PLC0415 — NumPy: the server starts without it

        if self._row_cache is None:
            self._row_cache = searching.IndexRowCache()
        return await searching.search(tx, self._stemmer, self._row_cache, key, query, query_vector)
