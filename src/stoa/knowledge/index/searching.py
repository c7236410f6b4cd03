"""A search: the filter's ordinals, the words' scores, the nearest vectors, one ranking of both, the chunks.

All of it runs in one transaction. Filters hold inside each stage: they make a bitmap of ordinals that scores and scans are held
against, so that a selective filter costs no recall.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stoa.db import Row, Tx
from stoa.knowledge.index import filters, scoring, store
from stoa.knowledge.index.fusion import Ranking, weighted
from stoa.knowledge.index.snippets import sentences, snippet
from stoa.knowledge.index.stemming import Stemmer
from stoa.knowledge.index.store import SQL
from stoa.knowledge.index.types import BaseKey, Found, Hit, Mode, Query
from stoa.knowledge.index.words import raw_terms

CANDIDATES_MIN: Final = 100
"""Of each half of a hybrid search."""
POSTINGS_MAX: Final = 1_000_000
"""Of one query; beyond, its commonest words are left out."""
TERMS_MAX: Final = 256
EF_SEARCH: Final = 200
EF_FILTERED: Final = 60
"""Of those that pass a filter."""
EF_SEARCH_MAX: Final = 1_000
"""pgvector's own bound."""
SCAN_TUPLES_MAX: Final = 40_000
LISTED_MAX: Final = 2_000
"""So few chunks behind a filter are looked up one by one."""
GRAPH_SHARE_MIN: Final = 0.05
GRAPH_WALK_MAX: Final = 500
"""A filter that leaves less than this share, or so little that the walk would pass more than so many to gather what is wanted, makes an exact scan
the shorter way."""


_NONE: Final[Ranking] = ()


@dataclass(slots=True)
class _Stages:
    """What a search did, for `explain`."""

    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    begun: float = field(default_factory=perf_counter)
    last: float = field(default_factory=perf_counter)

    def end(self, name: str, **facts: Any) -> None:
        now = perf_counter()
        self.shown[name] = {**facts, "ms": round((now - self.last) * 1000, 2)}
        self.last = now


@dataclass(frozen=True, slots=True)
class _Words:
    """The keyword half: scores as shares of the best possible one, and what each term of the query counts."""

    scores: scoring.Scores
    ranking: Ranking
    weights: Mapping[str, float]


async def search(tx: Tx, stemmer: Stemmer, key: BaseKey, query: Query, query_vector: NDArray[np.float32] | None) -> Found:
    """Best first. Raises BadRequest for a filter that is none."""
    wanted = _wanted(query)
    stages = _Stages()
    index = await tx.fetchrow(SQL.open_index, key.org_id, key.knowledgebase_id, key.generation, str(EF_SEARCH), str(SCAN_TUPLES_MAX))
    stages.end("open", chunks=index["chunks"] if index else 0)
    if index is None or not index["chunks"]:
        return Found((), stages.shown if query.explain else {})
    allowed = None
    if wanted.parts:
        allowed = await _allowed(tx, key, index, wanted)
        stages.end("filter", allowed=scoring.count_of(allowed))
    count = max(CANDIDATES_MIN, query.limit)
    words, meaning = _Words(np.zeros(0, np.float32), (), {}), _NONE
    if query.mode is not Mode.SEMANTIC:
        words = await _by_words(tx, stemmer, key, index, query, allowed, count, stages)
    if query.mode is not Mode.KEYWORD:
        assert query_vector is not None, "a search by meaning has a vector"
        meaning = await _by_meaning(tx, key, index, query, query_vector, allowed, stages)
    ranking, parts = await _fused(tx, key, index, query, query_vector, words, meaning, stages)
    if query.similarity_threshold is not None:
        ranking = [one for one in ranking if one[1] >= query.similarity_threshold]
    hits = await _hits(tx, stemmer, key, index, query, ranking[: query.limit], parts, words)
    stages.end("load", hits=len(hits))
    stages.shown["total_ms"] = round((perf_counter() - stages.begun) * 1000, 2)
    return Found(hits, stages.shown if query.explain else {})


def _wanted(query: Query) -> filters.All:
    parts: list[filters.Expression] = []
    if query.filters:
        parts.append(filters.compiled(query.filters))
    if query.user is not None:
        parts.append(filters.admits(query.user, query.user_groups))
    return filters.All(tuple(parts))


async def _allowed(tx: Tx, key: BaseKey, index: Row, wanted: filters.All) -> scoring.Chosen:
    parts = list(dict.fromkeys(filters.leaves(wanted)))
    asked = [(place, term) for place, part in enumerate(parts) if isinstance(part, filters.AnyTerm) for term in dict.fromkeys(part.terms)]
    held: dict[str, list[bytes]] = {}
    for row in await tx.fetch(SQL.filter_blocks, key.org_id, index["index_id"], sorted({term for _, term in asked})):
        held.setdefault(row["term"], []).append(row["records"])
    found: dict[int, list[bytes]] = {}
    for place, term in asked:
        found.setdefault(place, []).extend(held.get(term, ()))
    for place, part in enumerate(parts):
        if isinstance(part, filters.Between):
            rows = await tx.fetch(SQL.range_blocks, key.org_id, index["index_id"], part.low, part.high)
            found[place] = [row["records"] for row in rows]
    return scoring.selected(wanted, found, parts, index["next_ordinal"])


async def _by_words(
    tx: Tx, stemmer: Stemmer, key: BaseKey, index: Row, query: Query, allowed: scoring.Chosen | None, count: int, stages: _Stages
) -> _Words:
    asked = list(dict.fromkeys(await stemmer.stems(tx, query.language or index["language"], list(raw_terms(query.text)))))[:TERMS_MAX]
    rows = await tx.fetch(SQL.word_blocks, key.org_id, index["index_id"], asked, POSTINGS_MAX)
    holders = dict.fromkeys(asked, 0)
    blocks: dict[str, list[bytes]] = {}
    for row in rows:
        holders[row["term"]] = row["total"]
        if row["records"] is not None:
            blocks.setdefault(row["term"], []).append(row["records"])
    weights = {term: scoring.idf(index["chunks"], int(total)) for term, total in holders.items()}
    scores = scoring.bm25([(weights[term], records) for term, records in blocks.items()], index["words"] / index["chunks"], index["next_ordinal"])
    most = sum(weights.values()) * (scoring.K1 + 1)
    scores /= np.float32(most or 1.0)
    ranking = scoring.best(scores, count, allowed)
    terms = {term[1:]: {"documents": int(holders[term]), "weight": round(weights[term], 3), "used": term in blocks} for term in asked}
    stages.end("keyword", candidates=len(ranking), terms=terms)
    return _Words(scores, ranking, weights)


async def _by_meaning(
    tx: Tx, key: BaseKey, index: Row, query: Query, vector: NDArray[np.float32], allowed: scoring.Chosen | None, stages: _Stages
) -> Ranking:
    """Exactly where the vectors are few or the filter leaves few, through the index's own HNSW elsewhere."""
    table, sent = store.vectors_table(index), vector.tolist()
    count = max(CANDIDATES_MIN, query.limit) if query.mode is Mode.HYBRID else query.limit
    passing = index["chunks"] if allowed is None else scoring.count_of(allowed)
    bits = () if allowed is None else (scoring.packed(allowed), index["next_ordinal"])
    if not passing:
        rows, method = [], "none"
    elif allowed is not None and passing <= LISTED_MAX:
        method = "listed"
        rows = await tx.fetch(SQL.nearest_listed.format(vectors=table), key.org_id, index["index_id"], sent, count, scoring.ordinals_of(allowed))
    elif index["hnsw"] and not query.exact and passing >= index["chunks"] * GRAPH_SHARE_MIN and count * index["chunks"] <= passing * GRAPH_WALK_MAX:
        method = "hnsw"
        statement = SQL.nearest_by_graph if allowed is None else SQL.nearest_by_graph_of
        if allowed is not None:
            # Of what the graph finds only a share passes: it has to look for so many more.
            width = max(EF_SEARCH, min(EF_SEARCH_MAX, EF_FILTERED * index["chunks"] // passing))
            await tx.fetchval(SQL.widen, str(width))
        rows = await tx.fetch(statement.format(vectors=table, dimensions=index["dimensions"]), sent, count, *bits)
    else:
        method = "exact"
        statement = SQL.nearest if allowed is None else SQL.nearest_of
        rows = await tx.fetch(statement.format(vectors=table), key.org_id, index["index_id"], sent, count, *bits)
    ranking = [(row["ordinal"], _cosine(row["score"])) for row in rows]
    stages.end("semantic", candidates=len(ranking), method=method)
    return ranking


def _cosine(value: float) -> float:
    """In 0..1: what points away is as unlike as what has nothing to do with it."""
    return min(1.0, max(0.0, value))


async def _fused(
    tx: Tx, key: BaseKey, index: Row, query: Query, vector: NDArray[np.float32] | None, words: _Words, meaning: Ranking, stages: _Stages
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
        rows = await tx.fetch(SQL.scores_of.format(vectors=store.vectors_table(index)), key.org_id, index["index_id"], vector.tolist(), missing)
        near.update((row["ordinal"], _cosine(row["score"])) for row in rows)
    held = {ordinal: float(words.scores[ordinal]) if ordinal < len(words.scores) else 0.0 for ordinal in near}
    ranking = weighted(near, held, query.alpha)
    stages.end("fusion", candidates=len(ranking), alpha=query.alpha)
    return ranking, {"semantic": near, "keyword": held}


async def _hits(
    tx: Tx, stemmer: Stemmer, key: BaseKey, index: Row, query: Query, ranking: Ranking, parts: Mapping[str, Mapping[int, float]], words: _Words
) -> Sequence[Hit]:
    rows = {row["ordinal"]: row for row in await tx.fetch(SQL.chunks_of, key.org_id, index["index_id"], [ordinal for ordinal, _ in ranking])}
    language = query.language or index["language"]
    weights = words.weights or dict.fromkeys(await stemmer.stems(tx, language, list(raw_terms(query.text))), 1.0)
    pieces = {ordinal: [(piece, set(raw_terms(piece))) for piece in sentences(row["text"])] for ordinal, row in rows.items()}
    await stemmer.learn(tx, language, {term for each in pieces.values() for _, terms in each for term in terms})

    def held(terms: Iterable[str]) -> float:
        """What a sentence holds of the query: each of its terms counts once."""
        return sum(weights.get(stem, 0.0) for stem in {stemmer.stem(language, term) for term in terms} if stem is not None)

    places = {name: _places(scores) for name, scores in parts.items()} if query.explain else {}
    hits: list[Hit] = []
    for ordinal, score in ranking:
        row = rows.get(ordinal)
        if row is None:  # Deleted since the stage before, where the transaction is no snapshot.
            continue
        explain = {name: {"score": round(scores[ordinal], 4), "rank": places[name][ordinal]} for name, scores in parts.items()} if query.explain else None
        hits.append(
            Hit(
                row["id"], row["item_id"], row["text"], round(score, 4), row["metadata"], row["page"], row["heading"],
                snippet([piece for piece, _ in pieces[ordinal]], [held(terms) for _, terms in pieces[ordinal]]), explain, row["place"],
            )
        )  # fmt: skip
    return hits


def _places(scores: Mapping[int, float]) -> dict[int, int]:
    return {ordinal: place for place, (ordinal, _) in enumerate(sorted(scores.items(), key=lambda one: (-one[1], one[0])), 1)}
