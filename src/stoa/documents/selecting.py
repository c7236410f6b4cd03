"""Ranks the passages of a few documents for a question, without index and database.

Keywords (BM25) and vectors (cosine, if there is an embedder) give a ranking each; reciprocal rank fusion joins them. A
passage that neither shares enough of the question's words nor is similar enough is not relevant at all, so an unrelated
question finds nothing.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stoa.documents.terms import terms

EMBEDDED_MAX: Final = 200
"""Maximum passages to embed: at most two seconds of the local embedder before an answer begins."""
CHARACTERS_PER_TOKEN: Final = 4

_K1: Final = 1.2
_B: Final = 0.75
_RANK_OFFSET: Final = 20
"""The constant k of reciprocal rank fusion. The usual 60 is for thousands of results; with tens of them it flattens all
differences."""
_BACKGROUND: Final = 50
"""Virtual passages without any of the words: in a document of three passages every word would seem frequent."""

# The gate. `coverage` is the share of the question's words (weighted by rarity) that a passage holds.
_COVERAGE_ALONE: Final = 0.5
_COVERAGE_OF_TWO_WORDS: Final = 0.3
_COSINE_ALONE: Final = 0.35
_COSINE_WITH_WORDS: Final = 0.15


class PassageLike(Protocol):
    """What is ranked: Markdown, its page, its heading."""

    @property
    def text(self) -> str: ...
    @property
    def page(self) -> int | None: ...
    @property
    def heading(self) -> str | None: ...


P = TypeVar("P", bound=PassageLike)
Vectors: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Vectors | None]]
"""One vector per text, of any length; None while the embedder is unavailable: then keywords alone decide."""


@dataclass(frozen=True, slots=True)
class _Words:
    """Per passage: BM25 score, weighted share of the question's words, number of different words shared."""

    scores: NDArray[np.float64]
    coverage: NDArray[np.float64]
    shared: NDArray[np.int64]


async def rank(
    question: str, passages: Sequence[PassageLike], embed: Embed | None, limit: int
) -> list[tuple[int, float]]:
    """(index, score) of the relevant passages, best first, at most `limit`; empty when nothing is relevant.

    Scores are in 0..1 and comparable within one answer. Of more than 200 passages the 200 best by words are embedded.
    """
    if not passages or limit <= 0 or not question.strip():
        return []
    words = await asyncio.to_thread(_by_words, question, passages)
    relevant = (words.coverage >= _COVERAGE_ALONE) | ((words.coverage >= _COVERAGE_OF_TWO_WORDS) & (words.shared > 1))
    cosines = await _by_meaning(question, passages, words, embed) if embed is not None else None
    if cosines is not None:
        relevant = (cosines >= _COSINE_ALONE) | (relevant & (cosines >= _COSINE_WITH_WORDS))
    rankings = [_places(words.scores, words.scores > 0)]
    if cosines is not None:
        rankings.append(_places(cosines, np.isfinite(cosines)))
    fused = sum(rankings, np.zeros(len(passages))) * (_RANK_OFFSET + 1) / len(rankings)
    order = [int(index) for index in np.argsort(-fused, kind="stable") if relevant[index]]
    return [(index, round(float(fused[index]), 4)) for index in order[:limit]]


async def select(
    question: str, documents: Sequence[Sequence[P]], budget_tokens: int, embed: Embed | None
) -> list[list[P]]:
    """For each document the passages to show: all, when all fit; otherwise the most relevant within the budget over all
    documents, in document order. When nothing is relevant ("summarize this") the beginning of each document."""
    costs = [[tokens(passage) for passage in document] for document in documents]
    if sum(map(sum, costs)) <= budget_tokens:
        return [list(document) for document in documents]
    places = [(number, position) for number, document in enumerate(documents) for position in range(len(document))]
    flat = [documents[number][position] for number, position in places]
    ranked = [places[index] for index, _ in await rank(question, flat, embed, len(flat))]
    wanted = ranked or sorted(places, key=lambda place: (place[1], place[0]))
    chosen: set[tuple[int, int]] = set()
    left = budget_tokens
    for number, position in wanted:
        cost = costs[number][position]
        if cost <= left:
            chosen.add((number, position))
            left -= cost
        elif not ranked:
            break  # no gaps within a beginning
    return [
        [passage for position, passage in enumerate(document) if (number, position) in chosen]
        for number, document in enumerate(documents)
    ]


def tokens(passage: PassageLike) -> int:
    """The estimated tokens of a passage: a quarter of its characters, plus the line between passages."""
    return math.ceil(len(passage.text) / CHARACTERS_PER_TOKEN) + 1


def _by_words(question: str, passages: Sequence[PassageLike]) -> _Words:
    wanted = list(dict.fromkeys(terms(question)))
    column = {term: number for number, term in enumerate(wanted)}
    counts = np.zeros((len(passages), len(wanted)))
    lengths = np.zeros(len(passages))
    for row, passage in enumerate(passages):
        # The heading counts like text: a table below "Error codes" answers questions about error codes.
        found = terms(passage.text if (passage.heading or "") in passage.text else f"{passage.heading}\n{passage.text}")
        lengths[row] = len(found)
        for term, count in Counter(found).items():
            if term in column:
                counts[row, column[term]] = count
    if not wanted:
        return _Words(np.zeros(len(passages)), np.zeros(len(passages)), np.zeros(len(passages), dtype=np.int64))
    contains = counts > 0
    holders = contains.sum(axis=0)
    weights = np.log1p((len(passages) + _BACKGROUND - holders + 0.5) / (holders + 0.5))
    norm = _K1 * (1 - _B + _B * lengths / max(float(lengths.mean()), 1.0))
    scores = (weights * counts * (_K1 + 1) / (counts + norm[:, None])).sum(axis=1)
    return _Words(scores, (contains * weights).sum(axis=1) / weights.sum(), contains.sum(axis=1))


async def _by_meaning(
    question: str, passages: Sequence[PassageLike], words: _Words, embed: Embed
) -> NDArray[np.float64] | None:
    """Cosine to the question per passage; minus infinity for those that were not embedded."""
    chosen = np.arange(len(passages))
    if len(passages) > EMBEDDED_MAX:
        chosen = np.sort(np.argsort(-words.scores, kind="stable")[:EMBEDDED_MAX])
    vectors = await embed([question, *(passages[int(index)].text for index in chosen)])
    if vectors is None:
        return None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    cosines = np.full(len(passages), -np.inf)
    cosines[chosen] = unit[1:] @ unit[0]
    return cosines


def _places(scores: NDArray[np.float64], ranked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Reciprocal ranks; 0 for passages outside of this ranking."""
    reciprocal = np.zeros(len(scores))
    order = [index for index in np.argsort(-scores, kind="stable") if ranked[index]]
    reciprocal[order] = 1 / (_RANK_OFFSET + 1 + np.arange(len(order)))
    return reciprocal
