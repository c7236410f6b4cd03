"""The chunks of items as counted terms, each in the language of its item."""

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
class Text:
    """An item as it is analysed. `language` is used if its own cannot be detected. The words of the title are added to
    every chunk and do not count for its length."""

    chunks: Sequence[NewChunk]
    language: str
    title: str


@dataclass(frozen=True, slots=True)
class Analysed:
    language: str
    counts: Sequence[Counts]


async def analyse(tx: Tx, stemmer: Stemmer, form: int, texts: Sequence[Text]) -> Sequence[Analysed]:
    """The terms of each chunk of some items with their number."""
    languages = [text.language for text in texts]
    if form == FORM:
        languages = await asyncio.to_thread(_languages, texts)
    analyses = [Analysis(form, language) for language in languages]
    titles = [
        list(analysis.raw_terms(clean(text.title))) if form == FORM else []
        for analysis, text in zip(analyses, texts, strict=True)
    ]
    for analysis, title in zip(analyses, titles, strict=True):
        await stemmer.learn(tx, analysis, title)
    found: list[list[Counts]] = [[] for _ in texts]
    parts = [(number, chunk) for number, text in enumerate(texts) for chunk in text.chunks]
    for start in range(0, len(parts), _BATCH):
        batch = [(number, analyses[number], chunk) for number, chunk in parts[start : start + _BATCH]]
        raw = await asyncio.to_thread(_raw_counts, batch)
        terms: dict[Analysis, set[str]] = {}
        for (_, analysis, _), counts in zip(batch, raw, strict=True):
            terms.setdefault(analysis, set()).update(counts)
        for analysis, ones in terms.items():
            await stemmer.learn(tx, analysis, ones)
        for (number, analysis, _), counts in zip(batch, raw, strict=True):
            found[number].append(_counts(stemmer, analysis, counts, titles[number]))
    return [Analysed(language, counts) for language, counts in zip(languages, found, strict=True)]


def _languages(texts: Sequence[Text]) -> list[str]:
    return [language_of(_sample(text.chunks), text.language) for text in texts]


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


def _raw_counts(batch: Sequence[tuple[int, Analysis, NewChunk]]) -> list[Counter[str]]:
    return [Counter(analysis.raw_terms(indexed_text(chunk))) for _, analysis, chunk in batch]


def indexed_text(chunk: NewChunk) -> str:
    """The text for keyword search: the chunk with its heading, as it is embedded."""
    if chunk.heading is None or chunk.heading in chunk.text:
        return clean(chunk.text)
    return clean(f"{chunk.heading}\n{chunk.text}")


def clean(text: str) -> str:
    """Text that PostgreSQL can store: no NUL, no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("\x00", " ")
