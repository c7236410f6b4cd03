"""A ranking of chunks as one of items, each by its best chunk (`group_by=document`).

The borders of chunks are arbitrary, and a short chunk has little information. So the context of the best chunk counts
too: the adjacent chunks, the words of the whole item, and its second best chunk. The weights were measured in several
collections and languages (bench/RESULTS.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx
from stoa.index import nearest, scoring
from stoa.index.fusion import Ranking
from stoa.index.store import SQL
from stoa.index.types import Mode, Query

SECOND_SHARE: Final = 0.1
"""Of what the second best chunk of an item has over the usual one. An item of one chunk loses nothing by it."""
BESIDE_SHARE: Final = 0.25
"""The weight of the adjacent chunks in the best chunk's similarity."""
WHOLE_SHARE: Final = 0.25
"""The weight of the whole item's words in a chunk's keyword score."""
RESCORED_MIN: Final = 50
"""Items, and at least three times as many as are wanted: what stands behind them in the ranking of chunks alone stays
behind them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The ranking of chunks; the similarities and the words' scores of its chunks, where they took part; and the words
    with their postings."""

    ranking: Ranking
    near: Mapping[int, float] | None
    words: Mapping[int, float] | None
    asked: Sequence[scoring.Asked]


@dataclass(frozen=True, slots=True)
class _Item:
    best: int
    first: int
    last: int
    words: int
    score: float
    """Of the best chunk alone."""
    more: float
    """What its second best chunk adds."""

    @property
    def beside(self) -> Sequence[int]:
        return [at for at in (self.best - 1, self.best + 1) if self.first <= at <= self.last]


async def best_of_items(tx: Tx, index: Row, query: Query, vector: str | None, scored: Scored) -> Ranking:
    """The best chunk of each item, best item first."""
    rows = await tx.fetch(SQL.items_at, index["org_id"], index["index_id"], [ordinal for ordinal, _ in scored.ranking])
    items = sorted(_items(scored.ranking, {row["ordinal"]: row for row in rows}), key=lambda one: -one.score - one.more)
    count = max(RESCORED_MIN, 3 * query.limit)
    first, others = items[:count], items[count:]
    near = await _with_those_beside(tx, index, query, vector, scored.near, first)
    whole = scoring.bm25_of_items(
        scored.asked, [(one.first, one.last) for one in first], [one.words for one in first], index["next_ordinal"]
    )
    rescored = sorted(
        (
            (one.best, min(1.0, _score(one, query, near, scored.words, float(words)) + one.more))
            for one, words in zip(first, whole, strict=True)
        ),
        key=lambda one: (-one[1], one[0]),
    )
    least = rescored[-1][1] if rescored else 0.0
    return [*rescored, *((one.best, min(least, one.score + one.more)) for one in others)]


def _items(ranking: Ranking, rows: Mapping[int, Row]) -> Sequence[_Item]:
    chunks: dict[UUID, list[tuple[int, float]]] = {}
    for ordinal, score in ranking:
        if ordinal in rows:
            chunks.setdefault(rows[ordinal]["item_id"], []).append((ordinal, score))
    usual = ranking[len(ranking) // 2][1] if ranking else 0.0
    found: list[_Item] = []
    for each in chunks.values():
        best, score = each[0]
        row = rows[best]
        more = SECOND_SHARE * max(0.0, (each[1][1] if len(each) > 1 else 0.0) - usual)
        found.append(_Item(best, row["first_ordinal"], row["last_ordinal"], row["words"], score, more))
    return found


async def _with_those_beside(
    tx: Tx,
    index: Row,
    query: Query,
    vector: str | None,
    near: Mapping[int, float] | None,
    items: Sequence[_Item],
) -> Mapping[int, float] | None:
    """The similarities, also of the chunks beside the best ones."""
    if near is None or vector is None:
        return None
    missing = sorted({at for one in items for at in one.beside} - near.keys())
    return {**near, **await nearest.similarities(tx, index, query, vector, missing)} if missing else near


def _score(
    item: _Item, query: Query, near: Mapping[int, float] | None, words: Mapping[int, float] | None, whole: float
) -> float:
    by_words = (1 - WHOLE_SHARE) * words.get(item.best, 0.0) + WHOLE_SHARE * whole if words is not None else 0.0
    meaning = near.get(item.best, 0.0) if near is not None else 0.0
    beside = [near[at] for at in item.beside if at in near] if near is not None else []
    if beside:
        meaning += BESIDE_SHARE * (sum(beside) / len(beside) - meaning)
    match query.mode:
        case Mode.KEYWORD:
            return by_words
        case Mode.SEMANTIC:
            return meaning
        case Mode.HYBRID:
            return query.alpha * meaning + (1 - query.alpha) * by_words
