"""How the nearest vectors are found: by the HNSW graph, by scanning those that pass a filter, or by scanning all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stoa.db import Row, Tx
from stoa.index import scoring, store
from stoa.index.store import SQL
from stoa.index.types import BaseKey, Mode, Query

MEANING_MIN: Final = 100
"""Candidates by vector in a hybrid search that scans every vector."""
SURE_SHARE: Final = 0.75
"""In a hybrid search with HNSW: the requested share of the expected hits. For more, pgvector would have to restart the
scan (docs/decisions/0017)."""
EF_SEARCH: Final = 100
EF_SMALL: Final = 50
"""In a hybrid search of a small index: the best ten are those of a scan of all vectors (docs/decisions/0142)."""
SMALL_CHUNKS: Final = 20_000
EF_FILTERED: Final = 120
PASSING_MIN: Final = 32
"""In semantic mode with a filter, `ef_search` is chosen to find so many vectors that pass it, and at least twice the
requested number, because no keyword hits make up for missed vectors."""
EF_SEARCH_MAX: Final = 1_000
"""pgvector's limit."""
SCAN_TUPLES_MAX: Final = 40_000
STEP_COST: Final = 20
"""A step in the graph costs as much as scanning so many vectors. If fewer vectors per step pass the filter, they are
scanned."""


@dataclass(frozen=True, slots=True)
class NearestSearch:
    """One statement, whose rows are (ordinal, score, listed): the nearest vectors, best first, and those of the keyword
    hits (`listed`). Without a statement there is nothing to find."""

    method: str
    statement: str | None = None
    arguments: Sequence[Any] = ()

    async def rows(self, tx: Tx) -> Sequence[Row]:
        return await tx.fetch(self.statement, *self.arguments) if self.statement is not None else ()


def sent(vector: NDArray[np.float32]) -> str:
    """A query's vector as the text that statements take. Five digits distinguish every half-precision number from its
    neighbours. Not a list, because asyncpg checks each number of it several times, which took longer than the
    database's walk through the graph."""
    halves = vector.astype(np.float16).tolist()
    return f"[{','.join(['%.5g'] * len(halves))}]" % tuple(halves)


async def plan_search(
    tx: Tx,
    key: BaseKey,
    index: Row,
    query: Query,
    vector: str,
    allowed: scoring.Chosen | None,
    by_words: Sequence[int],
    width_set: int,
) -> NearestSearch:
    """Scans if there are few vectors or few pass the filter; else uses the index's HNSW graph. `vector` comes from
    `sent`; `by_words` are the keyword hits, whose scores are always read; `width_set` is the transaction's
    ef_search."""
    table = store.vectors_table(index)
    passing = index["chunks"] if allowed is None else scoring.count_of(allowed)
    if not passing:
        return NearestSearch("none")
    first = (key.org_id, index["index_id"], vector)
    hybrid, share = query.mode is Mode.HYBRID, min(1.0, passing / index["chunks"])
    small = hybrid and index["chunks"] < SMALL_CHUNKS
    if index["hnsw"] and not query.exact and (width := _width(passing, share, query.limit, hybrid=hybrid, small=small)):
        count = max(round(width * share * SURE_SHARE) if hybrid else 1, query.limit)
        if width > width_set:
            await tx.fetchval(SQL.widen, str(width))
        statement = SQL.nearest_by_graph if allowed is None else SQL.nearest_by_graph_of
        bits = () if allowed is None else (scoring.packed(allowed), index["next_ordinal"])
        return NearestSearch(
            "hnsw", statement.format(vectors=table, dimensions=index["dimensions"]), (*first, count, by_words, *bits)
        )
    count = max(MEANING_MIN if hybrid else 1, query.limit)
    if allowed is not None:
        ranges = scoring.runs_of(allowed)
        return NearestSearch("listed", SQL.nearest_listed.format(vectors=table), (*first, count, by_words, *ranges))
    return NearestSearch("exact", SQL.nearest.format(vectors=table), (*first, count, by_words))


async def similarities(tx: Tx, index: Row, query: Query, vector: str, ordinals: Sequence[int]) -> Mapping[int, float]:
    """The similarities of some chunks, in 0..1. `vector` comes from `sent`."""
    statement = SQL.scores_of.format(vectors=store.vectors_table(index))
    rows = await tx.fetch(statement, index["org_id"], index["index_id"], vector, ordinals)
    return {row["ordinal"]: similarity(row["score"], query) for row in rows}


def similarity(cosine: float, query: Query) -> float:
    """The cosine in 0..1: negative cosines count as 0."""
    return min(1.0, max(0.0, (cosine - query.unrelated) / (1 - query.unrelated)))


def width_min(mode: Mode, chunks: int | None, *, filtered: bool) -> int:
    """The ef_search that the statement which opens the index sets, for an index of so many chunks when it was last
    searched (None: it was not).

    In hybrid mode a filter does not raise it: keyword hits make up for missed vectors.
    """
    if mode is Mode.HYBRID and not filtered and chunks is not None and chunks < SMALL_CHUNKS:
        return EF_SMALL
    return EF_FILTERED if filtered and mode is Mode.SEMANTIC else EF_SEARCH


def _width(passing: int, share: float, limit: int, *, hybrid: bool, small: bool = False) -> int:
    """The ef_search that finds enough of the vectors that pass the filter; 0 if scanning all of them is faster."""
    least, wanted = (EF_SEARCH, 2 * limit) if hybrid or share == 1 else (EF_FILTERED, max(PASSING_MIN, 2 * limit))
    if small and share == 1:
        least = EF_SMALL
    # Only a share of the found vectors passes the filter.
    width = max(least, min(EF_SEARCH_MAX, round(wanted / share)))
    steps = limit if share == 1 else max(width, limit / share)
    return width if passing > STEP_COST * steps else 0
