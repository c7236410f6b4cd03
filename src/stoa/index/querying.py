"""A query as the words that are looked up, each with its terms in the languages of the index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stoa.db import Row, Tx
from stoa.index.languages import language_of
from stoa.index.normalizing import FORM
from stoa.index.stemming import Analysis, Stemmer
from stoa.index.types import Query
from stoa.index.words import CAPITALS

WORDS_MAX: Final = 256
LANGUAGES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query: its terms with what each counts, and how often the query holds it."""

    terms: Mapping[str, float]
    times: int = 1

    @property
    def name(self) -> str:
        """Its first term: what answers show of it."""
        return next(iter(self.terms))


async def asked_words(tx: Tx, stemmer: Stemmer, index: Row, query: Query) -> Sequence[Word]:
    """A stop word is left out, unless the query holds nothing else."""
    base_language = query.language or index["language"]
    form: int = index["form"]
    if form != FORM:
        return await _of_first_form(tx, stemmer, Analysis(form, base_language), query.text)
    own = language_of(query.text, base_language)
    languages = dict.fromkeys([own, *index["languages"][:LANGUAGES_MAX]])
    readings: list[Sequence[Mapping[str, float] | None]] = []
    stop_words: Sequence[Mapping[str, float]] = ()
    for language in languages:
        analysis = Analysis(form, language)
        raw = analysis.asked_terms(query.text)
        await stemmer.learn(tx, analysis, raw)
        readings.append([stemmer.asked(analysis, term) for term in raw])
        if language == own:
            stop_words = [dict.fromkeys(stemmer.terms(analysis, term), 1.0) for term in raw]
    in_index = [
        reading for language, reading in zip(languages, readings, strict=True) if language in index["languages"]
    ]
    found: dict[frozenset[str], Word] = {}
    for position, meant in enumerate(readings[0]):
        if meant is None:
            continue
        terms: dict[str, float] = {}
        for reading in in_index or readings:
            for term, factor in (reading[position] or {}).items():
                terms[term] = max(factor, terms.get(term, 0.0))
        _add(found, terms)
    if all(word.name[0] == CAPITALS for word in found.values()):
        found = {}
        for terms in stop_words:
            _add(found, terms)
    return list(found.values())[:WORDS_MAX]


async def _of_first_form(tx: Tx, stemmer: Stemmer, analysis: Analysis, text: str) -> Sequence[Word]:
    raw = analysis.asked_terms(text)
    await stemmer.learn(tx, analysis, raw)
    known = dict.fromkeys(term for one in raw for term in stemmer.terms(analysis, one))
    return [Word({term: 1.0}) for term in known][:WORDS_MAX]


def _add(found: dict[frozenset[str], Word], terms: Mapping[str, float]) -> None:
    if terms:
        known = frozenset(terms)
        found[known] = replace(found[known], times=found[known].times + 1) if known in found else Word(terms)


def weights_of(words: Sequence[Word], weights: Mapping[str, float]) -> Mapping[str, tuple[str, float]]:
    """Each term with its word and what it counts there; every word counts the same where no weights are known."""
    return {
        term: (word.name, weights.get(word.name, 1.0) * factor) for word in words for term, factor in word.terms.items()
    }
