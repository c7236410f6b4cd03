"""A search: the filter's ordinals, the words' scores, the nearest vectors, one ranking of both, the chunks.

All of it runs in one transaction. Filters hold inside each stage: they make a bitmap of ordinals by which scores and
scans are restricted, so that a selective filter costs no recall.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from stoa.db import Row, Tx
from stoa.index import filters, itemwise, nearest, scoring
from stoa.index.fusion import Ranking, weighted
from stoa.index.querying import Word, asked_words, weights_of
from stoa.index.snippets import sentences, snippet
from stoa.index.stemming import Analysis, Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, Found, Hit, Mode, Query
from stoa.index.visibility import admits

WORDS_MIN: Final = 150
"""Candidates by keyword in a hybrid search."""
CANDIDATES_PER_ITEM: Final = 20
"""Candidates of each half per requested item, because long documents fill the first ranks with their chunks."""
FOREIGN_SHARE: Final = 0.75
"""Of its weight that meaning has where the embedder was made for a language in which no item is: German read by an
embedder of English has nDCG@10 .950 so, .939 with all of it, .949 by words alone."""
POSTINGS_MAX: Final = 1_000_000
"""Postings of one query; above it the most frequent words are left out."""

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
    """The keyword half: scores as shares of the best possible one."""

    scores: scoring.Scores
    ranking: Ranking
    weights: Mapping[str, float]
    """Of each word of the query, by its first term."""
    asked: Sequence[scoring.Asked] = ()


async def search(
    tx: Tx, stemmer: Stemmer, key: BaseKey, query: Query, query_vector: NDArray[np.float32] | None
) -> Found:
    """Best first. Raises BadRequest for a filter that is none."""
    wanted, asked = _wanted(query), query
    if query.one_per_item:
        query = replace(query, limit=query.limit * CANDIDATES_PER_ITEM)
    stages = _Stages()
    width = nearest.width_min(query.mode, filtered=bool(wanted.parts))
    index = await tx.fetchrow(
        SQL.open_index, key.org_id, key.knowledgebase_id, key.generation, str(width), str(nearest.SCAN_TUPLES_MAX)
    )
    stages.end("open", chunks=index["chunks"] if index else 0)
    if index is None or not index["chunks"]:
        return Found((), stages.shown if query.explain else {}, stages.seconds)
    if query.embedder_language is not None and index["languages"] and query.embedder_language not in index["languages"]:
        query, asked = (replace(one, alpha=one.alpha * FOREIGN_SHARE) for one in (query, asked))
    allowed = None
    if wanted.parts:
        allowed = await _allowed(tx, key, index, wanted)
        stages.end("filter", allowed=scoring.count_of(allowed))
    words, meaning = _Words(np.zeros(0, np.float32), (), {}), _NONE
    terms = await asked_words(tx, stemmer, index, query)
    postings = None if query.mode is Mode.SEMANTIC else await _postings(tx, key, index, terms)

    def count_words() -> _Words:
        return _by_words(postings, index, query, allowed, stages) if postings is not None else words

    if query.mode is Mode.KEYWORD:
        words = count_words()
    else:
        assert query_vector is not None, "a search by meaning has a vector"
        way = await nearest.way(tx, key, index, query, query_vector, allowed)
        # This process scores keywords while PostgreSQL searches the graph.
        rows, words = (
            await _meanwhile(way.rows(tx), count_words) if postings is not None else (await way.rows(tx), words)
        )
        meaning = [(row["ordinal"], nearest.similarity(row["score"], query)) for row in rows]
        stages.end("semantic", candidates=len(meaning), method=way.method)
    ranking, parts = await _fused(tx, index, query, query_vector, words, meaning, stages)
    if query.similarity_threshold is not None:
        ranking = [one for one in ranking if one[1] >= query.similarity_threshold]
    if asked.one_per_item:
        scored = itemwise.Scored(ranking, parts.get("semantic"), parts.get("keyword"), words.asked)
        ranking = await itemwise.best_of_items(tx, index, asked, query_vector, scored)
    shown = _Shown(query, ranking[: asked.limit], parts, terms, words.weights)
    hits = await _hits(tx, stemmer, key, index, shown)
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
    """A query's words, the number of chunks with each term, and the postings within the budget."""

    words: Sequence[Word]
    holders: Mapping[str, int]
    blocks: Mapping[str, Sequence[bytes]]


async def _postings(tx: Tx, key: BaseKey, index: Row, words: Sequence[Word]) -> _Postings:
    holders = dict.fromkeys((term for word in words for term in word.terms), 0)
    blocks: dict[str, list[bytes]] = {}
    for row in await tx.fetch(SQL.word_blocks, key.org_id, index["index_id"], list(holders), POSTINGS_MAX):
        holders[row["term"]] = int(row["total"])
        if row["records"] is not None:
            blocks.setdefault(row["term"], []).append(row["records"])
    return _Postings(words, holders, blocks)


def _by_words(postings: _Postings, index: Row, query: Query, allowed: scoring.Chosen | None, stages: _Stages) -> _Words:
    chunks: int = index["chunks"]
    asked: list[scoring.Asked] = []
    weights: dict[str, float] = {}
    shown: dict[str, Any] = {}
    for word in postings.words:
        holders = min(chunks, sum(postings.holders[term] for term in word.terms))
        weights[word.name] = weight = scoring.idf(chunks, holders)
        asked.append(
            scoring.Asked(
                weight * word.times,
                [(factor, postings.blocks.get(term, ())) for term, factor in word.terms.items()],
            )
        )
        used = any(term in postings.blocks for term in word.terms)
        shown[word.name[1:]] = {"documents": holders, "weight": round(weight, 3), "used": used}
    scores = scoring.bm25(asked, index["words"] / chunks, index["next_ordinal"])
    most = sum(one.weight for one in asked) * (scoring.K1 + 1)
    scores /= np.float32(most or 1.0)
    ranking = scoring.best(scores, max(WORDS_MIN, query.limit), allowed)
    stages.end("keyword", candidates=len(ranking), terms=shown)
    return _Words(scores, ranking, weights, asked)


async def _meanwhile(work: Coroutine[Any, Any, _Rows], compute: Callable[[], _Computed]) -> tuple[_Rows, _Computed]:
    """Runs `compute` while `work` waits for the database; returns both results."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.sleep(0)  # Its statement is written,
        await asyncio.sleep(0)  # and sent.
        computed = compute()
        return await task, computed
    finally:
        if not task.done():  # The transaction must be idle when this returns.
            task.cancel()
            await asyncio.wait([task])


async def _fused(
    tx: Tx,
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
        near |= await nearest.similarities(tx, index, query, vector, missing)
    by_words = {ordinal: float(words.scores[ordinal]) if ordinal < len(words.scores) else 0.0 for ordinal in near}
    ranking = weighted(near, by_words, query.alpha)
    stages.end("fusion", candidates=len(ranking), alpha=query.alpha)
    return ranking, {"semantic": near, "keyword": by_words}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The input of the results: the ranking, the scores of each half, and the query's words with their weights."""

    query: Query
    ranking: Ranking
    parts: Mapping[str, Mapping[int, float]]
    words: Sequence[Word]
    weights: Mapping[str, float]


async def _hits(tx: Tx, stemmer: Stemmer, key: BaseKey, index: Row, shown: _Shown) -> Sequence[Hit]:
    ordinals = [ordinal for ordinal, _ in shown.ranking]
    rows = {row["ordinal"]: row for row in await tx.fetch(SQL.chunks_of, key.org_id, index["index_id"], ordinals)}
    snippets = await _snippets(tx, stemmer, index, shown, rows)
    explained = shown.query.explain
    places = {name: _places(scores) for name, scores in shown.parts.items()} if explained else {}
    hits: list[Hit] = []
    for ordinal, score in shown.ranking:
        row = rows.get(ordinal)
        if row is None:  # Deleted since the stage before, where the transaction is no snapshot.
            continue
        explain = {
            name: {"score": round(scores[ordinal], 4), "rank": places[name][ordinal]}
            for name, scores in (shown.parts.items() if explained else ())
        }
        hits.append(
            Hit(
                row["id"],
                row["item_id"],
                row["text"],
                round(score, 4),
                row["metadata"],
                row["page"],
                row["heading"],
                snippets[ordinal],
                explain if explained else None,
                row["place"],
            )
        )
    return hits


async def _snippets(tx: Tx, stemmer: Stemmer, index: Row, shown: _Shown, rows: Mapping[int, Row]) -> Mapping[int, str]:
    """Each chunk's sentences that hold words of the query, read in the language of its item."""
    by_language: dict[str, list[int]] = {}
    for ordinal, row in rows.items():
        by_language.setdefault(row["language"] or index["language"], []).append(ordinal)
    found: dict[int, str] = {}
    weights = weights_of(shown.words, shown.weights)
    for language, ordinals in by_language.items():
        analysis = Analysis(index["form"], language)
        pieces = {
            ordinal: [(piece, analysis.tokens(piece)) for piece in sentences(rows[ordinal]["text"])]
            for ordinal in ordinals
        }
        known = set[str]().union(*(inner for each in pieces.values() for _, inner in each))
        holders = await stemmer.holders(tx, analysis, known, weights)
        holding = frozenset(holders)
        for ordinal, each in pieces.items():
            matches = [_weight([holders[token] for token in holding.intersection(inner)], weights) for _, inner in each]
            found[ordinal] = snippet([piece for piece, _ in each], matches)
    return found


def _weight(held: Sequence[Collection[str]], weights: Mapping[str, tuple[str, float]]) -> float:
    """The weight of the query's words in a sentence; each counts once."""
    best: dict[str, float] = {}
    for terms in held:
        for term in terms:
            word, weight = weights[term]
            best[word] = max(weight, best.get(word, 0.0))
    return sum(best.values())


def _places(scores: Mapping[int, float]) -> dict[int, int]:
    return {
        ordinal: place
        for place, (ordinal, _) in enumerate(sorted(scores.items(), key=lambda one: (-one[1], one[0])), 1)
    }
