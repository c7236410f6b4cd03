"""Searches the sections of all pages. The index takes a few hundred kilobytes and is built at the first search."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from stoa.console.documentation import pages
from stoa.console.documentation.pages import Section

RESULTS_MAX: Final = 20
QUERY_CHARACTERS_MAX: Final = 200
SNIPPET_CHARACTERS: Final = 220
_WORD: Final = re.compile(r"[a-z0-9_]{2,}")
_FENCED: Final = re.compile(r"^ {0,3}```.*?^ {0,3}```", re.MULTILINE | re.DOTALL)
_SIGNS: Final = re.compile(r"!?\[|\]\([^)]*\)|[`*|#>\[\]]|-{3,}")
_TITLE_WEIGHT: Final = 6
_SATURATION: Final = 1.4
_LESS: Final = {"docs/decisions": 0.6, "CHANGELOG.md": 0.3, "docs/isolation.md": 0.3}
"""Factors that rank guides above decisions and history."""


@dataclass(frozen=True, slots=True)
class Found:
    """`snippet` alternates between text and matched words, and starts with text."""

    title: str
    heading: str
    address: str
    snippet: Sequence[str]


def words(text: str) -> list[str]:
    """Words in lower case, without a plural's s, so that "runs" finds "run"."""
    return [word.removesuffix("s") if len(word) > 3 else word for word in _WORD.findall(text.lower())]


@cache
def _index() -> tuple[Sequence[Section], Sequence[Mapping[str, int]], Mapping[str, int]]:
    """(sections, word counts of each section, number of sections that contain each word)."""
    sections = [section for path in sorted(pages.paths()) for section in pages.sections(path)]
    counts: list[Counter[str]] = []
    for section in sections:
        counted = Counter(words(section.text))
        for word in (*words(section.heading), *words(pages.title(section.page))):
            counted[word] += _TITLE_WEIGHT
        counts.append(counted)
    return sections, counts, Counter(word for counted in counts for word in counted)


def search(query: str) -> Sequence[Found]:
    """The best sections. The last word is matched as a prefix too, because the user may still be typing."""
    sections, counts, spread = _index()
    asked = _asked(query[:QUERY_CHARACTERS_MAX], spread)
    scored: list[tuple[float, int]] = []
    for number, counted in enumerate(counts):
        hits = [sum(counted.get(word, 0) for word in words) for words in asked]
        if asked and (matched := sum(hit > 0 for hit in hits)) * 2 > len(asked):
            score = sum(
                math.log(1 + len(sections) / max(sum(spread.get(word, 0) for word in words), 1))
                * hit
                / (hit + _SATURATION)
                for words, hit in zip(asked, hits, strict=True)
            )
            scored.append((score * matched / len(asked) * _weight(sections[number]), number))
    scored.sort(key=lambda one: (-one[0], one[1]))
    wanted = frozenset(word for words in asked for word in words)
    return [_found(sections[number], wanted) for _, number in scored[:RESULTS_MAX]]


def _asked(query: str, spread: Mapping[str, int]) -> Sequence[Sequence[str]]:
    """For each word of the query, the indexed words that it matches."""
    asked = words(query)
    unfinished = bool(asked) and query[-1:].isalnum()
    last = [word for word in spread if word.startswith(asked[-1])][:50] if unfinished else []
    return [[word] for word in asked[:-1]] + [[asked[-1], *last] for _ in asked[-1:]]


def _weight(section: Section) -> float:
    return next((weight for place, weight in _LESS.items() if section.page.startswith(place)), 1.0)


def _found(section: Section, wanted: frozenset[str]) -> Found:
    prose = _plain(_FENCED.sub(" ", section.text))
    # If only an example contains a wanted word, the snippet comes from the example.
    text = prose if any(_is(word, wanted) for word in _WORD.findall(prose.lower())) else _plain(section.text)
    first = next((match.start() for match in _WORD.finditer(text.lower()) if _is(match[0], wanted)), 0)
    begin = max(first - SNIPPET_CHARACTERS // 3, 0)
    shown = ("…" if begin else "") + text[begin : begin + SNIPPET_CHARACTERS]
    shown += "…" if len(text) > begin + SNIPPET_CHARACTERS else ""
    parts: list[str] = [""]
    for piece in re.split(r"(\w+)", shown):
        if (len(parts) % 2 == 0) != _is(piece.lower(), wanted):
            parts.append("")
        parts[-1] += piece
    where = f"{pages.address(section.page)}#{section.anchor}" if section.level > 1 else pages.address(section.page)
    return Found(pages.title(section.page), section.heading, where, parts)


def _plain(text: str) -> str:
    """The text without Markdown syntax."""
    return " ".join(_SIGNS.sub(" ", text).split())


def _is(word: str, wanted: frozenset[str]) -> bool:
    return bool(set(words(word)) & wanted)
