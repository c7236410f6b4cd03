"""A query as the words that are looked up, each with its terms in the languages of the index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stoa.db import Row, Tx
from stoa.index.languages import language_of
from stoa.index.normalizing import FORM
from stoa.index.stemming import COMPOUNDING, PART_MIN, REST_MIN, Analysis, Stemmer, compound_ranges
from stoa.index.store import SQL
from stoa.index.types import Query
from stoa.index.words import CAPITALS, WORD

WORDS_MAX: Final = 256
LANGUAGES_MAX: Final = 8
COMPOUNDS_MAX: Final = 50
"""That begin with a word of the query, and that end with it."""
PART: Final = 0.5
"""What a compound counts that holds a word of the query."""


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
    return await _with_compounds(tx, index, list(found.values())[:WORDS_MAX])


def is_read_alone(index: Row) -> bool:
    """Whether `asked_words` reads nothing of the index but its row: where it finds no compounds there."""
    return COMPOUNDING.isdisjoint(index["languages"])


async def _with_compounds(tx: Tx, index: Row, words: Sequence[Word]) -> Sequence[Word]:
    """The words, in languages that write compounds as one word also found within these: `Antrag` in `Urlaubsantrag`,
    and `Urlaub` there too."""
    if is_read_alone(index):
        return words
    asked = {
        place: compound_ranges(word.name[1:])
        for place, word in enumerate(words)
        if word.name[0] == WORD and len(word.name) > PART_MIN and word.name[1:].isalpha()
    }
    ranges = [(place, low, high) for place, each in asked.items() for low, high in each]
    if not ranges:
        return words
    rows = await tx.fetch(
        SQL.compounds,
        index["org_id"],
        index["index_id"],
        [low for _, low, _ in ranges],
        [high for _, _, high in ranges],
        REST_MIN,
        COMPOUNDS_MAX,
    )
    terms = [dict(word.terms) for word in words]
    for row in rows:
        terms[ranges[row["place"] - 1][0]].setdefault(row["term"], PART)
    return [replace(word, terms=each) for word, each in zip(words, terms, strict=True)]


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
