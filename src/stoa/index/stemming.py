"""Converts raw terms to the terms of the index. PostgreSQL's dictionaries stem the words; the stems are cached, and a
text's few new words need one statement."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stoa.db import Tx
from stoa.index import words, words_v1
from stoa.index.normalizing import folded, transcribed
from stoa.index.store import SQL
from stoa.index.words import CAPITALS, CHARACTERS_MAX, FOLDED, HEAD, STOP, TAIL, WORD

REMEMBERED_MAX: Final = 200_000
"""Words of one language: about 30 MB."""
TOKENS_MAX: Final = 50_000
"""Of the texts that searches show, in one language: about 10 MB."""
LIKE: Final = 0.8
"""The weight of a word that differs from the query's only in accents."""
COMPOUNDING: Final = frozenset({"german", "dutch", "danish", "norwegian", "swedish"})
PART_MIN: Final = 5
"""Letters of a word that compounds are found by."""
REST_MIN: Final = 3
"""Letters of a compound beside it."""
_BATCH: Final = 5_000
_TELLING: Final = re.compile(r"\w[@/\\_:.#&+]+\w|\d{3}")
_WHOLE: Final = frozenset({"hindi", "nepali"})
_STEM_MIN: Final = 6
"""In these languages a single vowel sign at the end of a short word makes another word: it is not cut off."""
_FIRST: Final = 1
"""The form of indexes that were made before texts had a normal form."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """How an index analyses texts: the form, and the language of the text."""

    form: int
    language: str

    def raw_terms(self, text: str) -> Iterable[str]:
        return words_v1.raw_terms(text) if self.form == _FIRST else words.raw_terms(text, self.language)

    def asked_terms(self, text: str) -> Sequence[str]:
        """The raw terms of a query."""
        found = words_v1.raw_terms(text) if self.form == _FIRST else words.raw_terms(text, self.language, asked=True)
        return list(found)

    def tokens(self, text: str) -> list[str]:
        return words_v1.tokens(text) if self.form == _FIRST else words.tokens(text)

    def token_terms(self, token: str) -> Iterable[str]:
        return words_v1.raw_terms(token) if self.form == _FIRST else words.normal_terms(token, self.language)


class _Known:
    """A cache of tokens with their terms, and of tokens by term."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.holding: dict[str, set[str]] = {}

    def add(self, token: str, terms: Iterable[str]) -> None:
        self.tokens.add(token)
        for term in terms:
            self.holding.setdefault(term, set()).add(token)


class Stemmer:
    def __init__(self) -> None:
        self._stems: dict[str, dict[str, str | None]] = {}
        self._terms: dict[Analysis, dict[str, tuple[str, ...]]] = {}
        self._tokens: dict[Analysis, _Known] = {}

    async def learn(self, tx: Tx, analysis: Analysis, raw: Iterable[str]) -> None:
        """Makes sure that `terms` knows these."""
        known = self._stems.setdefault(analysis.language, {})
        if len(known) > REMEMBERED_MAX:
            known.clear()
            self._terms.pop(analysis, None)
        asked: set[str] = set()
        for term in raw:
            if term[0] in {WORD, CAPITALS} and _is_stemmed(term[1:], analysis.form):
                asked.add(term[1:])
                if not term.isascii() and analysis.form != _FIRST:
                    asked.update((folded(term[1:]), folded(transcribed(term[1:]))))
        # Over again where somebody else, meanwhile, has made room: what is missing would stand unstemmed.
        while missing := [word for word in asked if word not in known]:
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                found = {row["word"]: row["stem"] for row in await tx.fetch(SQL.stems, analysis.language, batch)}
                known.update((word, found.get(word)) for word in batch)

    def terms(self, analysis: Analysis, raw: str) -> tuple[str, ...]:
        """The terms of the index for a raw term of a text; none for a word that says nothing in the first form."""
        remembered = self._terms.setdefault(analysis, {})
        found = remembered.get(raw)
        if found is None:
            found = self._composed(analysis, raw)
            if len(remembered) < REMEMBERED_MAX:
                remembered[raw] = found
        return found

    def asked(self, analysis: Analysis, raw: str) -> Mapping[str, float] | None:
        """The terms that a query's raw term is found by, with what each counts; None for a stop word."""
        own = self.terms(analysis, raw)
        if analysis.form == _FIRST:
            return dict.fromkeys(own, 1.0) or None
        kind, word = raw[0], raw[1:]
        if own and own[0][0] == STOP:
            return {CAPITALS + word: 1.0} if kind == CAPITALS else None
        if kind not in {WORD, CAPITALS}:
            return dict.fromkeys(own, 1.0)
        plain = {term[1:] for term in own if term[0] not in {HEAD, TAIL}}
        found = {own[0]: 1.0}
        for stem in plain:
            found.setdefault(WORD + stem, LIKE)
            found.setdefault(FOLDED + stem, LIKE)
        return found

    async def holders(
        self, tx: Tx, analysis: Analysis, tokens: set[str], wanted: Collection[str]
    ) -> Mapping[str, Collection[str]]:
        """Those of the tokens that hold wanted terms, and which. Words are met again and again, so what each holds is
        remembered; codes, numbers and addresses are not: they say too much of one document.
        """
        known = self._tokens.setdefault(analysis, _Known())
        if len(known.tokens) > TOKENS_MAX:
            known = self._tokens[analysis] = _Known()
        new = {token: set(analysis.token_terms(token)) for token in tokens.difference(known.tokens)}
        found: dict[str, set[str]] = {}
        for term in wanted:  # Read before the wait below, in which somebody else may make room.
            for token in tokens.intersection(known.holding.get(term, ())):
                found.setdefault(token, set()).add(term)
        await self.learn(tx, analysis, set[str]().union(*new.values()))
        for token, raw in new.items():
            terms = {term for one in raw for term in self.terms(analysis, one)}
            if _is_commonplace(token):
                known.add(token, terms)
            if not terms.isdisjoint(wanted):
                found[token] = terms.intersection(wanted)
        return found

    def _composed(self, analysis: Analysis, raw: str) -> tuple[str, ...]:
        kind, word = raw[0], raw[1:]
        if kind not in {WORD, CAPITALS} or not _is_stemmed(word, analysis.form):
            return (raw,)
        stems = self._stems[analysis.language]
        stem = stems.get(word, word)
        if analysis.form == _FIRST:
            return () if stem is None else (WORD + stem,)
        if stem is not None and analysis.language in _WHOLE and len(word) - len(stem) == 1 and len(stem) < _STEM_MIN:
            stem = word
        if stem is None:
            return (STOP + word, CAPITALS + word) if kind == CAPITALS else (STOP + word,)
        parts = _as_compound(stem) if analysis.language in COMPOUNDING else ()
        if word.isascii():
            return (WORD + stem, *parts)
        return (WORD + stem, *(FOLDED + one for one in self._like(word, stem, stems)), *parts)

    def _like(self, word: str, stem: str, stems: Mapping[str, str | None]) -> Iterable[str]:
        """The stems by which a word is found without its accents."""
        plain, spelled = folded(word), folded(transcribed(word))
        found = dict.fromkeys((folded(stem), stems.get(plain) or plain, stems.get(spelled) or spelled))
        found.pop(stem, None)
        return found if plain != word else ()


def _as_compound(stem: str) -> Sequence[str]:
    if len(stem) < PART_MIN + REST_MIN or not stem.isalpha():
        return ()
    plain = folded(stem)
    return (HEAD + plain, TAIL + plain[::-1])


def compound_ranges(stem: str) -> Sequence[tuple[str, str]]:
    """Between which terms the compounds lie that begin and that end with a stem."""
    plain = folded(stem)
    return [(low, low + "\U0010ffff") for low in (HEAD + plain, TAIL + plain[::-1])]


def _is_stemmed(word: str, form: int) -> bool:
    return words_v1.is_stemmed(word) if form == _FIRST else words.is_stemmed(word)


def _is_commonplace(token: str) -> bool:
    """Words, also joined by hyphens, and numbers of two digits: no address, no code, no larger number."""
    return len(token) <= CHARACTERS_MAX and not _TELLING.search(token)
