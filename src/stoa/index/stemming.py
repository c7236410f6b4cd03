"""Words to stems, by PostgreSQL's own dictionaries, remembered: a text's few new words are asked for in one
statement."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from stoa.db import Tx
from stoa.index.store import SQL
from stoa.index.words import CHARACTERS_MAX, WORD, is_stemmed, raw_terms

REMEMBERED_MAX: Final = 200_000
"""Words of one language: about 30 MB."""
TOKENS_MAX: Final = 50_000
"""Of the texts that searches show, in one language: about 10 MB."""
_BATCH: Final = 5_000


class _Known:
    """Tokens whose stems are known, and which of them hold a stem."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.holding: dict[str, set[str]] = {}

    def add(self, token: str, stems: Iterable[str]) -> None:
        self.tokens.add(token)
        for stem in stems:
            self.holding.setdefault(stem, set()).add(token)


class Stemmer:
    def __init__(self) -> None:
        self._languages: dict[str, dict[str, str | None]] = {}
        self._tokens: dict[str, _Known] = {}

    async def learn(self, tx: Tx, language: str, terms: Iterable[str]) -> None:
        """Makes sure that `stem` knows these."""
        known = self._languages.setdefault(language, {})
        if len(known) > REMEMBERED_MAX:
            known.clear()
        asked = {term for term in terms if term[0] == WORD}
        # Over again where somebody else, meanwhile, has made room: what is missing would stand unstemmed.
        while words := [term[1:] for term in asked if term not in known and is_stemmed(term[1:])]:
            for start in range(0, len(words), _BATCH):
                batch = words[start : start + _BATCH]
                found = {row["word"]: row["stem"] for row in await tx.fetch(SQL.stems, language, batch)}
                known.update((WORD + word, WORD + found[word] if word in found else None) for word in batch)

    def stem(self, language: str, term: str) -> str | None:
        """None for a word that says nothing, such as `the`. Codes and words with digits stay as they are."""
        return self._languages[language].get(term, term)

    async def stems(self, tx: Tx, language: str, terms: Sequence[str]) -> list[str]:
        await self.learn(tx, language, terms)
        return [found for term in terms if (found := self.stem(language, term)) is not None]

    async def holders(
        self, tx: Tx, language: str, tokens: set[str], wanted: Collection[str]
    ) -> Mapping[str, Collection[str]]:
        """Those of the tokens that hold wanted stems, and which. Words are met again and again, so what each holds is
        remembered; codes, numbers and addresses are not: they say too much of one document.
        """
        known = self._tokens.setdefault(language, _Known())
        if len(known.tokens) > TOKENS_MAX:
            known = self._tokens[language] = _Known()
        new = {token: set(raw_terms(token)) for token in tokens.difference(known.tokens)}
        found: dict[str, set[str]] = {}
        for stem in wanted:  # Read before the wait below, in which somebody else may make room.
            for token in tokens.intersection(known.holding.get(stem, ())):
                found.setdefault(token, set()).add(stem)
        await self.learn(tx, language, set[str]().union(*new.values()))
        for token, terms in new.items():
            stems = {stem for term in terms if (stem := self.stem(language, term)) is not None}
            if len(token) <= CHARACTERS_MAX and all(map(_is_commonplace, terms)):
                known.add(token, stems)
            if not stems.isdisjoint(wanted):
                found[token] = stems.intersection(wanted)
        return found


def _is_commonplace(term: str) -> bool:
    """Words, also joined by hyphens, and numbers of two digits."""
    word = term[1:]
    return is_stemmed(word.replace("-", "")) or (len(word) <= 2 and word.isdigit())
