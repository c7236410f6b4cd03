"""Snippets: the matching sentences of a chunk, marked, with as much context as fits. Pure."""

import html
import re
from collections.abc import Sequence
from typing import Final

CHARACTERS_MAX: Final = 320
_END: Final = re.compile(
    # One class of characters first: the regex engine skips everything else quickly.
    r"[.!?\u2026\u3002\uff01\uff1f\n]"
    r"(?:(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])|(?<=\n)(?:\n+|(?=[-*#|])))"
)
_MARKED_SHARE: Final = 0.5
"""A sentence is marked if its weight is at least this share of the best one's."""


def sentences(text: str) -> list[str]:
    """The text in pieces, nothing left out; each ends with what separates it from the next. Table rows and list items
    are pieces too."""
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if text[start : match.end()].strip():
            found.append(text[start : match.end()])
            start = match.end()
    return [*found, text[start:]] if text[start:].strip() or not found else [*found[:-1], found[-1] + text[start:]]


def snippet(pieces: Sequence[str], matches: Sequence[float]) -> str:
    """HTML with the matched sentences in <mark>; without a match the beginning, unmarked. `matches` says what each
    piece matches."""
    best = max(matches, default=0.0)
    if best <= 0:
        return html.escape(_shortened("".join(pieces).strip()), quote=False)
    centre = matches.index(best)
    first = last = centre
    length = len(pieces[centre])
    while True:
        # The neighbour that matches better comes first; of equal ones, that on the side that has had less.
        after = matches[last + 1] if last + 1 < len(pieces) else -1.0
        before = matches[first - 1] if first > 0 else -1.0
        step = last + 1 if (after, centre - first) >= (before, last - centre) else first - 1
        if max(after, before) < 0 or length + len(pieces[step]) > CHARACTERS_MAX:
            break
        length += len(pieces[step])
        first, last = min(first, step), max(last, step)
    shown = [_shown(pieces[at], marked=matches[at] >= best * _MARKED_SHARE) for at in range(first, last + 1)]
    return ("\u2026 " if first > 0 else "") + "".join(shown).strip() + (" \u2026" if last + 1 < len(pieces) else "")


def _shown(piece: str, *, marked: bool) -> str:
    inner = piece.strip()
    start = piece.index(inner)
    escaped = html.escape(_shortened(inner), quote=False)
    return piece[:start] + (f"<mark>{escaped}</mark>" if marked else escaped) + piece[start + len(inner) :]


def _shortened(text: str) -> str:
    return text if len(text) <= CHARACTERS_MAX else text[: CHARACTERS_MAX - 1].rstrip() + "\u2026"
