"""Splits passages that are longer than the embedder's input. Pure.

The converting process splits texts by characters (`chunking`), because it knows no embedder. A passage that is too long
for the embedder is split here by tokens. The borders depend only on the passage itself, so an edit moves no border in
another one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Final, TypeAlias

from stoa.documents.types import Passage

Spans: TypeAlias = Sequence[tuple[int, int]]
"""The start and end of each token of a text."""
Tokenize: TypeAlias = Callable[[Sequence[str]], Sequence[Spans]]

SPECIAL_TOKENS: Final = 2
"""The tokens that an embedder adds around a text."""
EARLIEST: Final = 0.6
"""The minimum share of a chunk's length at which it may end."""
PREFIX_MAX: Final = 0.5
"""A share of the tokens: a longer title and heading are not repeated."""
_BOUNDARIES: Final = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?\u2026]\s+|[\u3002\uff01\uff1f\u0964\u061f]\s*"),
    re.compile(r"\s+"),
)


def embedded_text(passage: Passage, title: str | None = None) -> str:
    """The text that is embedded: the passage below the document's title and its heading, so that its vector reflects
    its context."""
    above = [one for one in dict.fromkeys((title, passage.heading)) if one and one not in passage.text]
    return "\n".join([*above, passage.text])


def fitted(passages: Sequence[Passage], title: str | None, tokens_max: int, tokenize: Tokenize) -> list[Passage]:
    """The passages; those beyond `tokens_max` (with title and heading) are split."""
    found: list[Passage] = []
    sizes = [len(spans) for spans in tokenize([embedded_text(passage, title) for passage in passages])]
    for passage, size in zip(passages, sizes, strict=True):
        if size + SPECIAL_TOKENS <= tokens_max:
            found.append(passage)
        else:
            found.extend(_cut(passage, title, tokens_max, tokenize))
    return found


def _cut(passage: Passage, title: str | None, tokens_max: int, tokenize: Tokenize) -> Iterator[Passage]:
    heading = passage.heading
    prefix = "\n".join(one for one in dict.fromkeys((title, heading)) if one)
    head = _table_head(passage)
    own, named, above = tokenize([passage.text, prefix, head])
    room = tokens_max - SPECIAL_TOKENS - len(named) - len(above)
    if room < tokens_max * PREFIX_MAX:  # Without title and heading, because the chunks would be too small.
        head, room = "", tokens_max - SPECIAL_TOKENS - len(named)
    if room < tokens_max * PREFIX_MAX:
        yield from fitted(_pieces(replace(passage, heading=None), "", own, tokens_max // 2), None, tokens_max, tokenize)
        return
    if len(own) <= room:
        # The tokens of a table's header count twice above: a remainder that is too long is split in two.
        room = max(1, ceil(len(own) / 2))
    yield from fitted(_pieces(passage, head, own, room), title, tokens_max, tokenize)


def _pieces(passage: Passage, head: str, spans: Spans, room: int) -> list[Passage]:
    """Pieces of about equal length, each at most `room` tokens."""
    text = passage.text
    ends: list[int] = []
    first = 0
    while len(spans) - first > room:
        left = len(spans) - first
        target = ceil(left / ceil(left / room))
        last = min(first + target, len(spans) - 1)
        end = _boundary(text, spans[first + max(1, int(target * EARLIEST)) - 1][1], spans[last - 1][1])
        ends.append(end)
        first = next((number for number in range(first, len(spans)) if spans[number][0] >= end), len(spans))
    cuts = [0, *ends, len(text)]
    pieces = [text[start:end].strip() for start, end in pairwise(cuts)]
    shown = [piece for piece in pieces if piece]
    return [
        replace(passage, text=f"{head}\n{piece}" if head and number else piece) for number, piece in enumerate(shown)
    ]


def _boundary(text: str, earliest: int, latest: int) -> int:
    """The last good place to split between two positions; the later position where there is none."""
    for pattern in _BOUNDARIES:
        found = [match.end() for match in pattern.finditer(text, earliest, latest)]
        if found:
            return found[-1]
    return latest


def _table_head(passage: Passage) -> str:
    """The header of a table, which every piece of it repeats; empty where the passage is not a table."""
    lines = passage.text.split("\n", 2)
    is_table = passage.rows is not None and len(lines) == 3 and all(line.lstrip().startswith("|") for line in lines[:2])
    return "\n".join(lines[:2]) if is_table else ""
