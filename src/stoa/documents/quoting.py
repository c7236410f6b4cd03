"""Quotes from relevant passages: the sentences, list items and table rows that answer a question. Pure but for the
embedder."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from stoa.documents.selecting import Embed, PassageLike, rank

PASSAGES_MAX: Final = 6
"""The limit of passages that are searched for sentences; an answer is rarely in more."""
UNITS_MAX: Final = 6
UNIT_CHARACTERS_MAX: Final = 700
"""A longer sentence is code, or text without punctuation. It is cut."""

_HEADING: Final = re.compile(r"#{1,6}\s")
_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s")
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_RULE: Final = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*\|?\s*$")
_SENTENCE_END: Final = re.compile(
    r"(?:(?<=[.!?\u2026])|(?<=[.!?\u2026][\"')\]\u201d\u2019]))\s+(?=[\"'(\[*_`\u201c\u2018]*[^\W_a-z])"
    r"|(?<=[\u3002\uff01\uff1f])\s*"
)
"""After a punctuation mark (and the closing quote or bracket), before anything but a lower-case letter; in Chinese and
Japanese after any such mark."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """The smallest unit that can be quoted. `above` is its required context: a table's header."""

    passage: int
    block: int
    place: int
    words: str
    heading: str | None
    above: str = ""
    between: str = " "
    page: None = None

    @property
    def text(self) -> str:
        """The text for ranking: a row with the names of its columns."""
        return f"{self.above}\n{self.words}" if self.above else self.words


async def quote(
    question: str, passages: Sequence[PassageLike], embed: Embed | None, limit: int
) -> list[tuple[int, str]]:
    """(index of the passage, what it says about the question) pairs, best first, at most `limit`; empty when nothing is
    relevant."""
    relevant = [index for index, _ in await rank(question, passages, embed, PASSAGES_MAX)]
    units = [unit for index in relevant for unit in _units(index, passages[index])]
    chosen = [units[index] for index, _ in await rank(question, units, embed, UNITS_MAX)]
    if not chosen:  # The passage matches only as a whole.
        return [(index, passages[index].text) for index in relevant[:1]]
    best_first = list(dict.fromkeys(unit.passage for unit in chosen))
    return [(index, _excerpt([unit for unit in chosen if unit.passage == index])) for index in best_first[:limit]]


def _excerpt(units: Sequence[_Unit]) -> str:
    """In document order, with an ellipsis where something was left out inside a paragraph."""
    blocks: list[str] = []
    for _, group in groupby(sorted(units, key=lambda unit: (unit.block, unit.place)), key=lambda unit: unit.block):
        first, *others = group
        text, last = first.text, first.place
        for unit in others:
            gap = " … " if unit.between == " " and unit.place > last + 1 else unit.between
            text, last = f"{text}{gap}{unit.words}", unit.place
        blocks.append(text)
    return "\n\n".join(blocks)


def _units(index: int, passage: PassageLike) -> Iterator[_Unit]:
    place = 0
    for block, (above, between, pieces) in enumerate(_blocks(passage.text)):
        for piece in pieces:
            place += 1
            words = piece if len(piece) <= UNIT_CHARACTERS_MAX else piece[:UNIT_CHARACTERS_MAX].rstrip() + " …"
            yield _Unit(index, block, place, words, passage.heading, above, between)


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(header, separator, pieces) of each paragraph, list, table and code block. Headings are left out: the citation
    shows them."""
    for paragraph in _paragraphs(text):
        if _FENCE.match(paragraph[0]):
            yield "", "\n", ["\n".join(paragraph)]
        elif len(paragraph) > 1 and "|" in paragraph[0] and _RULE.match(paragraph[1]):
            yield "\n".join(paragraph[:2]), "\n", paragraph[2:] or [paragraph[0]]
        elif any(_ITEM.match(line) for line in paragraph):
            yield "", "\n", _items(paragraph)
        else:
            yield (
                "",
                " ",
                [found for found in _SENTENCE_END.split(" ".join(line.strip() for line in paragraph)) if found.strip()],
            )


def _items(lines: Sequence[str]) -> list[str]:
    """List items with their continuation lines; a lead-in to the list counts as the first."""
    items: list[str] = []
    for line in lines:
        if items and not _ITEM.match(line):
            items[-1] += f"\n{line}"
        else:
            items.append(line)
    return items


def _paragraphs(text: str) -> Iterator[list[str]]:
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fence = bool(_FENCE.match(line))
        if not fenced and (not line.strip() or _HEADING.match(line) or (fence and lines)):
            if lines:
                yield lines
            lines = []
            if not fence:
                continue
        lines.append(line)
        if fence:
            fenced = not fenced
            if not fenced:
                yield lines
                lines = []
    if lines:
        yield lines
