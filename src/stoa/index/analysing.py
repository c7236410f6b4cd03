"""An item's chunks as counted terms, in the language of the item."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stoa.db import Tx
from stoa.index.languages import SAMPLE_CHARACTERS, language_of
from stoa.index.normalizing import FORM
from stoa.index.postings import Counts
from stoa.index.stemming import Analysis, Stemmer
from stoa.index.types import NewChunk
from stoa.index.words import COUNTED

_BATCH: Final = 500
"""Chunks of one statement."""


@dataclass(frozen=True, slots=True)
class Analysed:
    language: str
    counts: Sequence[Counts]


async def analyse(
    tx: Tx, stemmer: Stemmer, form: int, chunks: Sequence[NewChunk], language: str, title: str
) -> Analysed:
    """The terms of each chunk of an item with their number. `language` is used if its own cannot be detected. The words
    of the title are added to every chunk and do not count for its length."""
    if form == FORM:
        language = await asyncio.to_thread(language_of, _sample(chunks), language)
    analysis = Analysis(form, language)
    named = list(analysis.raw_terms(clean(title))) if form == FORM else []
    await stemmer.learn(tx, analysis, named)
    found: list[Counts] = []
    for start in range(0, len(chunks), _BATCH):
        raw = await asyncio.to_thread(_raw_counts, analysis, chunks[start : start + _BATCH])
        await stemmer.learn(tx, analysis, set[str]().union(*raw))
        found += [_counts(stemmer, analysis, counts, named) for counts in raw]
    return Analysed(language, found)


def _counts(stemmer: Stemmer, analysis: Analysis, raw: Counter[str], title: Sequence[str]) -> Counts:
    terms: Counter[str] = Counter()
    for term, times in raw.items():
        for one in stemmer.terms(analysis, term):
            terms[one] += times
    length = sum(times for term, times in terms.items() if term[0] in COUNTED)
    for term in title:
        for one in stemmer.terms(analysis, term):
            terms.setdefault(one, 1)
    return Counts(terms, length)


def _sample(chunks: Sequence[NewChunk]) -> str:
    """The beginning and the middle of a text: what is on its first page is often in another language."""
    parts: list[str] = []
    size = 0
    for chunk in (*chunks[len(chunks) // 2 :], *chunks[: len(chunks) // 2]):
        parts.append(chunk.text)
        size += len(chunk.text)
        if size >= SAMPLE_CHARACTERS:
            break
    return "\n".join(parts)


def _raw_counts(analysis: Analysis, chunks: Sequence[NewChunk]) -> list[Counter[str]]:
    return [Counter(analysis.raw_terms(indexed_text(chunk))) for chunk in chunks]


def indexed_text(chunk: NewChunk) -> str:
    """The text for keyword search: the chunk with its heading, as it is embedded."""
    if chunk.heading is None or chunk.heading in chunk.text:
        return clean(chunk.text)
    return clean(f"{chunk.heading}\n{chunk.text}")


def clean(text: str) -> str:
    """Text that PostgreSQL can store: no NUL, no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("\x00", " ")
