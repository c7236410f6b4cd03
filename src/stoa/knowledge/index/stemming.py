"""Words to stems, by PostgreSQL's own dictionaries, remembered: a text's few new words are asked for in one statement."""

from collections.abc import Iterable, Sequence
from typing import Final

from stoa.db import Tx
from stoa.knowledge.index.store import SQL
from stoa.knowledge.index.words import WORD, is_stemmed

REMEMBERED_MAX: Final = 200_000
"""Words of one language: about 30 MB."""
_BATCH: Final = 5_000


class Stemmer:
    def __init__(self) -> None:
        self._languages: dict[str, dict[str, str | None]] = {}

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
