"""A search: the filter's ordinals, the words' scores, the nearest vectors, one ranking of both, the chunks.

All of it runs in one transaction. Filters hold inside each stage: they make a bitmap of ordinals by which scores and
scans are restricted, so that a selective filter costs no recall.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from stoa.db import Row, Tx
from stoa.index import filters, nearest, scoring, store
from stoa.index.fusion import Ranking, weighted
from stoa.index.snippets import sentences, snippet
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, Found, Hit, Mode, Query
from stoa.index.visibility import admits
from stoa.index.words import raw_terms, tokens

WORDS_MIN: Final = 150
"""What the words give to a hybrid search."""
POSTINGS_MAX: Final = 1_000_000
"""Of one query; beyond, its commonest words are left out."""
TERMS_MAX: Final = 256

_NONE: Final[Ranking] = ()
_Rows = TypeVar("_Rows")
_Computed = TypeVar("_Computed")


@dataclass(slots=True)
class _Stages:
    """What a search did, for `explain`, and how long each stage took."""

    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    begun: float = field(default_factory=perf_counter)
    last: float = field(default_factory=perf_counter)

    def end(self, name: str, **facts: Any) -> None:
        now = perf_counter()
        self.seconds[name] = now - self.last
        self.shown[name] = {**facts, "ms": round(self.seconds[name] * 1000, 2)}
        self.last = now


@dataclass(frozen=True, slots=True)
class _Words:
    """The keyword half: scores as shares of the best possible one, and what each term of the query counts."""

    scores: scoring.Scores
    ranking: Ranking
    weights: Mapping[str, float]


async def search(
    tx: Tx, stemmer: Stemmer, key: BaseKey, query: Query, query_vector: NDArray[np.float32] | None
) -> Found:
    """Best first. Raises BadRequest for a filter that is none."""
    wanted = _wanted(query)
    stages = _Stages()
    width = nearest.width_min(query.mode, filtered=bool(wanted.parts))
    index = await tx.fetchrow(
        SQL.open_index, key.org_id, key.knowledgebase_id, key.generation, str(width), str(nearest.SCAN_TUPLES_MAX)
    )
    stages.end("open", chunks=index["chunks"] if index else 0)
    if index is None or not index["chunks"]:
        return Found((), stages.shown if query.explain else {}, stages.seconds)
    allowed = None
    if wanted.parts:
        allowed = await _allowed(tx, key, index, wanted)
        stages.end("filter", allowed=scoring.count_of(allowed))
    words, meaning = _Words(np.zeros(0, np.float32), (), {}), _NONE
    postings = None if query.mode is Mode.SEMANTIC else await _postings(tx, stemmer, key, index, query)

    def count_words() -> _Words:
        return _by_words(postings, index, query, allowed, stages) if postings is not None else words

    if query.mode is Mode.KEYWORD:
        words = count_words()
    else:
        assert query_vector is not None, "a search by meaning has a vector"
        way = await nearest.way(tx, key, index, query, query_vector, allowed)
        # PostgreSQL walks the graph while this process counts words, where there are any.
        rows, words = (
            await _meanwhile(way.rows(tx), count_words) if postings is not None else (await way.rows(tx), words)
        )
        meaning = [(row["ordinal"], _cosine(row["score"])) for row in rows]
        stages.end("semantic", candidates=len(meaning), method=way.method)
    ranking, parts = await _fused(tx, key, index, query, query_vector, words, meaning, stages)
    if query.similarity_threshold is not None:
        ranking = [one for one in ranking if one[1] >= query.similarity_threshold]
    hits = await _hits(tx, stemmer, key, index, query, ranking[: query.limit], parts, words)
    stages.end("load", hits=len(hits))
    stages.shown["total_ms"] = round((perf_counter() - stages.begun) * 1000, 2)
    return Found(hits, stages.shown if query.explain else {}, stages.seconds)


def _wanted(query: Query) -> filters.All:
    parts: list[filters.Expression] = []
    if query.filters:
        parts.append(filters.compiled(query.filters))
    visible = admits(query.user, query.groups)
    if visible is not None:
        parts.append(visible)
    return filters.All(tuple(parts))


async def _allowed(tx: Tx, key: BaseKey, index: Row, wanted: filters.All) -> scoring.Chosen:
    parts = list(dict.fromkeys(filters.leaves(wanted)))
    asked = [
        (place, term)
        for place, part in enumerate(parts)
        if isinstance(part, filters.AnyTerm)
        for term in dict.fromkeys(part.terms)
    ]
    blocks: dict[str, list[bytes]] = {}
    for row in await tx.fetch(SQL.filter_blocks, key.org_id, index["index_id"], sorted({term for _, term in asked})):
        blocks.setdefault(row["term"], []).append(row["records"])
    found: dict[int, list[bytes]] = {}
    for place, term in asked:
        found.setdefault(place, []).extend(blocks.get(term, ()))
    for place, part in enumerate(parts):
        if isinstance(part, filters.Between):
            rows = await tx.fetch(SQL.range_blocks, key.org_id, index["index_id"], part.low, part.high)
            found[place] = [row["records"] for row in rows]
    return scoring.selected(wanted, found, parts, index["next_ordinal"])


@dataclass(frozen=True, slots=True)
class _Postings:
    """A query's terms with how many chunks hold each, and the postings, as far as the budget goes."""

    terms: Mapping[str, int]
    blocks: Mapping[str, Sequence[bytes]]


async def _postings(tx: Tx, stemmer: Stemmer, key: BaseKey, index: Row, query: Query) -> _Postings:
    asked = list(
        dict.fromkeys(await stemmer.stems(tx, query.language or index["language"], list(raw_terms(query.text))))
    )[:TERMS_MAX]
    terms = dict.fromkeys(asked, 0)
    blocks: dict[str, list[bytes]] = {}
    for row in await tx.fetch(SQL.word_blocks, key.org_id, index["index_id"], asked, POSTINGS_MAX):
        terms[row["term"]] = int(row["total"])
        if row["records"] is not None:
            blocks.setdefault(row["term"], []).append(row["records"])
    return _Postings(terms, blocks)


def _by_words(postings: _Postings, index: Row, query: Query, allowed: scoring.Chosen | None, stages: _Stages) -> _Words:
    weights = {term: scoring.idf(index["chunks"], holders) for term, holders in postings.terms.items()}
    scores = scoring.bm25(
        [(weights[term], records) for term, records in postings.blocks.items()],
        index["words"] / index["chunks"],
        index["next_ordinal"],
    )
    most = sum(weights.values()) * (scoring.K1 + 1)
    scores /= np.float32(most or 1.0)
    ranking = scoring.best(scores, max(WORDS_MIN, query.limit), allowed)
    terms = {
        term[1:]: {"documents": holders, "weight": round(weights[term], 3), "used": term in postings.blocks}
        for term, holders in postings.terms.items()
    }
    stages.end("keyword", candidates=len(ranking), terms=terms)
    return _Words(scores, ranking, weights)


async def _meanwhile(work: Coroutine[Any, Any, _Rows], compute: Callable[[], _Computed]) -> tuple[_Rows, _Computed]:
    """What `work` brings, and what `compute` makes of the time in which it waits for the database."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.sleep(0)  # Its statement is written,
        await asyncio.sleep(0)  # and sent.
        computed = compute()
        return await task, computed
    finally:
        if not task.done():  # Nobody uses the transaction any more when this returns.
            task.cancel()
            await asyncio.wait([task])


def _cosine(value: float) -> float:
    """In 0..1: what points away is as unlike as what has nothing to do with it."""
    return min(1.0, max(0.0, value))


async def _fused(
    tx: Tx,
    key: BaseKey,
    index: Row,
    query: Query,
    vector: NDArray[np.float32] | None,
    words: _Words,
    meaning: Ranking,
    stages: _Stages,
) -> tuple[Ranking, Mapping[str, Mapping[int, float]]]:
    """The ranking, and the scores of each half that took part."""
    if query.mode is Mode.KEYWORD:
        return words.ranking, {"keyword": dict(words.ranking)}
    if query.mode is Mode.SEMANTIC:
        return meaning, {"semantic": dict(meaning)}
    near = dict(meaning)
    missing = [ordinal for ordinal, _ in words.ranking if ordinal not in near]
    if missing:
        assert vector is not None
        rows = await tx.fetch(
            SQL.scores_of.format(vectors=store.vectors_table(index)),
            key.org_id,
            index["index_id"],
            vector.tolist(),
            missing,
        )
        near.update((row["ordinal"], _cosine(row["score"])) for row in rows)
    by_words = {ordinal: float(words.scores[ordinal]) if ordinal < len(words.scores) else 0.0 for ordinal in near}
    ranking = weighted(near, by_words, query.alpha)
    stages.end("fusion", candidates=len(ranking), alpha=query.alpha)
    return ranking, {"semantic": near, "keyword": by_words}


async def _hits(
    tx: Tx,
    stemmer: Stemmer,
    key: BaseKey,
    index: Row,
    query: Query,
    ranking: Ranking,
    parts: Mapping[str, Mapping[int, float]],
    words: _Words,
) -> Sequence[Hit]:
    rows = {
        row["ordinal"]: row
        for row in await tx.fetch(SQL.chunks_of, key.org_id, index["index_id"], [ordinal for ordinal, _ in ranking])
    }
    language = query.language or index["language"]
    weights = words.weights or dict.fromkeys(await stemmer.stems(tx, language, list(raw_terms(query.text))), 1.0)
    pieces = {ordinal: [(piece, tokens(piece)) for piece in sentences(row["text"])] for ordinal, row in rows.items()}
    holders = await stemmer.holders(
        tx, language, set[str]().union(*(inner for each in pieces.values() for _, inner in each)), weights
    )
    holding = frozenset(holders)

    def weight_of(inner: Sequence[str]) -> float:
        """What a sentence holds of the query: each of its terms counts once. Most sentences hold nothing."""
        found = holding.intersection(inner)
        return sum(weights[stem] for stem in set[str]().union(*(holders[token] for token in found))) if found else 0.0

    places = {name: _places(scores) for name, scores in parts.items()} if query.explain else {}
    hits: list[Hit] = []
    for ordinal, score in ranking:
        row = rows.get(ordinal)
        if row is None:  # Deleted since the stage before, where the transaction is no snapshot.
            continue
        explain = (
            {
                name: {"score": round(scores[ordinal], 4), "rank": places[name][ordinal]}
                for name, scores in parts.items()
            }
            if query.explain
            else None
        )
        hits.append(
            Hit(
                row["id"],
                row["item_id"],
                row["text"],
                round(score, 4),
                row["metadata"],
                row["page"],
                row["heading"],
                snippet([piece for piece, _ in pieces[ordinal]], [weight_of(inner) for _, inner in pieces[ordinal]]),
                explain,
                row["place"],
            )
        )
    return hits


def _places(scores: Mapping[int, float]) -> dict[int, int]:
    return {
        ordinal: place
        for place, (ordinal, _) in enumerate(sorted(scores.items(), key=lambda one: (-one[1], one[0])), 1)
    }
