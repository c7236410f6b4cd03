"""A search: the filter's ordinals, the words' scores, the nearest vectors, one ranking of both, the chunks.

All of it runs in one transaction. Filters apply inside each stage: they give a bitmap of ordinals that restricts scores
and scans, so that a selective filter costs no recall.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stoa.db import Row, Tx
from stoa.index import filters, itemwise, nearest, scoring
from stoa.index.fusion import Ranking, weighted
from stoa.index.querying import Word, asked_words, is_read_alone, weights_of
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
"""The vector scores' weight is multiplied by this if no item is in the embedder's language. German with an English
embedder has nDCG@10 .950 with this share, .939 with the full weight, .949 by words alone."""
POSTINGS_MAX: Final = 1_000_000
"""Postings of one query; above it the most frequent words are left out."""

REMEMBERED_MAX: Final = 2_000
"""Indexes whose rows are cached."""
READS: Final = ("index_id", "form", "language", "languages")
"""The columns of an index's row that decide which terms a query looks up."""


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
    """The weight of each word of the query, by its first term."""
    asked: Sequence[scoring.Asked] = ()


NO_WORDS: Final = _Words(np.zeros(0, np.float32), (), {})


class IndexRowCache:
    """Caches the rows of indexes from their last search. A query is tokenized by the cached row, so that one statement
    can open the index and read the postings. If the row has changed since, the query is tokenized and looked up again.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[BaseKey, Row] = OrderedDict()

    def row(self, key: BaseKey) -> Row | None:
        return self._rows.get(key)

    def remember(self, key: BaseKey, row: Row) -> None:
        self._rows[key] = row
        self._rows.move_to_end(key)
        if len(self._rows) > REMEMBERED_MAX:
            self._rows.popitem(last=False)


async def search(
    tx: Tx,
    stemmer: Stemmer,
    row_cache: IndexRowCache,
    key: BaseKey,
    query: Query,
    query_vector: NDArray[np.float32] | None,
) -> Found:
    """The hits, best first. Raises BadRequest for an invalid filter."""
    wanted, asked = _wanted(query), query
    if query.one_per_item:
        query = replace(query, limit=query.limit * CANDIDATES_PER_ITEM)
    stages = _Stages()
    index, terms, postings, width = await _opened(tx, stemmer, row_cache, key, query, filtered=bool(wanted.parts))
    stages.end("open", chunks=index["chunks"] if index else 0)
    if index is None or not index["chunks"]:
        return Found((), stages.shown if query.explain else {}, stages.seconds)
    if query.embedder_language is not None and index["languages"] and query.embedder_language not in index["languages"]:
        query, asked = (replace(one, alpha=one.alpha * FOREIGN_SHARE) for one in (query, asked))
    allowed = None
    if wanted.parts:
        allowed = await _allowed(tx, key, index, wanted)
        stages.end("filter", allowed=scoring.count_of(allowed))
    words = _by_words(postings, index, query, allowed, stages) if postings is not None else NO_WORDS
    near: Mapping[int, float] = {}
    vector = None
    if query.mode is not Mode.KEYWORD:
        assert query_vector is not None, "a search by meaning has a vector"
        vector = nearest.sent(query_vector)
        listed = [ordinal for ordinal, _ in words.ranking]
        near_search = await nearest.plan_search(tx, key, index, query, vector, allowed, listed, width)
        rows = await near_search.rows(tx)
        near = {row["ordinal"]: nearest.similarity(row["score"], query) for row in rows}
        stages.end("semantic", candidates=sum(not row["listed"] for row in rows), method=near_search.method)
    ranking, parts = _fused(query, words, near, stages)
    if query.similarity_threshold is not None:
        ranking = [one for one in ranking if one[1] >= query.similarity_threshold]
    if asked.one_per_item:
        scored = itemwise.Scored(ranking, parts.get("semantic"), parts.get("keyword"), words.asked)
        ranking = await itemwise.best_of_items(tx, index, asked, vector, scored)
    shown = _Shown(query, ranking[: asked.limit], parts, terms, words.weights)
    hits = await _hits(tx, stemmer, key, index, shown)
    stages.end("load", hits=len(hits))
    stages.shown["total_ms"] = round((perf_counter() - stages.begun) * 1000, 2)
    return Found(hits, stages.shown if query.explain else {}, stages.seconds)


async def _opened(
    tx: Tx, stemmer: Stemmer, row_cache: IndexRowCache, key: BaseKey, query: Query, *, filtered: bool
) -> tuple[Row | None, Sequence[Word], "_Postings | None", int]:
    """The index, the words of the query, and their postings (None in semantic mode, which does not need them), and the
    ef_search of the transaction."""
    known = row_cache.row(key) if query.mode is not Mode.SEMANTIC else None
    width = nearest.width_min(query.mode, known["chunks"] if known is not None else None, filtered=filtered)
    opening = (key.org_id, key.knowledgebase_id, key.generation, str(width), str(nearest.SCAN_TUPLES_MAX))
    if known is not None and is_read_alone(known):
        terms = await asked_words(tx, stemmer, known, query)
        looked_up = list(dict.fromkeys(term for word in terms for term in word.terms))
        index = await tx.fetchrow(SQL.open_with_words, *opening, known["index_id"], looked_up, POSTINGS_MAX)
        if index is not None:
            row_cache.remember(key, index)
            if all(index[name] == known[name] for name in READS):
                return index, terms, _Postings.of(terms, index), width
    else:
        index = await tx.fetchrow(SQL.open_index, *opening)
    if index is None or not index["chunks"]:
        return index, (), None, width
    row_cache.remember(key, index)
    terms = await asked_words(tx, stemmer, index, query)
    if query.mode is Mode.SEMANTIC:
        return index, terms, None, width
    looked_up = list(dict.fromkeys(term for word in terms for term in word.terms))
    row = await tx.fetchrow(SQL.word_blocks, key.org_id, index["index_id"], looked_up, POSTINGS_MAX)
    assert row is not None, "an aggregate has a row"
    return index, terms, _Postings.of(terms, row), width


def _wanted(query: Query) -> filters.And:
    parts: list[filters.Expression] = []
    if query.filters:
        parts.append(filters.compiled(query.filters))
    visible = admits(query.user, query.groups)
    if visible is not None:
        parts.append(visible)
    return filters.And(tuple(parts))


async def _allowed(tx: Tx, key: BaseKey, index: Row, wanted: filters.And) -> scoring.Chosen:
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
    records: Mapping[str, bytes]

    @classmethod
    def of(cls, words: Sequence[Word], row: Row) -> "_Postings":
        """`row` has parallel arrays: terms, their numbers of chunks, and their records."""
        found = list(zip(row["terms"], row["totals"], row["records"], strict=True))
        holders = dict.fromkeys((term for word in words for term in word.terms), 0)
        holders.update((term, total) for term, total, _ in found)
        return cls(words, holders, {term: records for term, _, records in found if records is not None})


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
                [(factor, postings.records.get(term, b"")) for term, factor in word.terms.items()],
            )
        )
        used = any(term in postings.records for term in word.terms)
        shown[word.name[1:]] = {"documents": holders, "weight": round(weight, 3), "used": used}
    scores = scoring.bm25(asked, index["words"] / chunks, index["next_ordinal"])
    most = sum(one.weight for one in asked) * (scoring.K1 + 1)
    scores /= np.float32(most or 1.0)
    ranking = scoring.best(scores, max(WORDS_MIN, query.limit), allowed)
    stages.end("keyword", candidates=len(ranking), terms=shown)
    return _Words(scores, ranking, weights, asked)


def _fused(
    query: Query, words: _Words, near: Mapping[int, float], stages: _Stages
) -> tuple[Ranking, Mapping[str, Mapping[int, float]]]:
    """The ranking, and the scores of each half that was used."""
    if query.mode is Mode.KEYWORD:
        return words.ranking, {"keyword": dict(words.ranking)}
    if query.mode is Mode.SEMANTIC:
        return sorted(near.items(), key=lambda one: -one[1]), {"semantic": near}
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
        if row is None:  # Deleted since the previous stage, if the transaction has no snapshot.
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
    """Each chunk's sentences with words of the query, analyzed in the language of its item."""
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
