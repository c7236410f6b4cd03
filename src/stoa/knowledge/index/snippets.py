"""What of a chunk to show: the sentences that match, marked, in as much of their surroundings as fits. Pure."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

CHARACTERS_MAX: Final = 320
_SENTENCE: Final = re.compile(r".+?(?:[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\]]*(?=\s|$)|\n{2,}|\n(?=[-*#|])|$)", re.DOTALL)
_MARKED_SHARE: Final = 0.5
"""A sentence is marked where it holds at least so much of what the best one holds."""


def snippet(text: str, weights: Mapping[str, float], terms_of: Callable[[str], set[str]]) -> str:
    """HTML with the matched sentences in <mark>; without a match the beginning, unmarked. `weights` says what each term of the query counts."""
    sentences = [(start, end) for start, end in _sentences(text)]
    held = [sum(weights[term] for term in terms_of(text[start:end]) & weights.keys()) for start, end in sentences]
    best = max(held, default=0.0)
    if best <= 0:
        return html.escape(_shortened(text.strip(), CHARACTERS_MAX), quote=False)
    centre = held.index(best)
    first = last = centre
    length = sentences[centre][1] - sentences[centre][0]
    while True:
        # The neighbour that matches better comes first; of equal ones, that on the side that has had less.
        after = held[last + 1] if last + 1 < len(sentences) else -1.0
        before = held[first - 1] if first > 0 else -1.0
        step = last + 1 if (after, centre - first) >= (before, last - centre) else first - 1
        if max(after, before) < 0 or length + sentences[step][1] - sentences[step][0] > CHARACTERS_MAX:
            break
        length += sentences[step][1] - sentences[step][0]
        first, last = min(first, step), max(last, step)
    pieces = [_shown(text[start:end], held[at] >= best * _MARKED_SHARE) for at, (start, end) in enumerate(sentences) if first <= at <= last]
    return ("… " if first > 0 else "") + "".join(pieces).strip() + (" …" if last + 1 < len(sentences) else "")


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    for match in _SENTENCE.finditer(text):
        if match.group().strip():
            yield match.span()


def _shown(sentence: str, marked: bool) -> str:
    inner = sentence.strip()
    start = sentence.index(inner)
    escaped = html.escape(_shortened(inner, CHARACTERS_MAX), quote=False)
    return sentence[:start] + (f"<mark>{escaped}</mark>" if marked else escaped) + sentence[start + len(inner) :]


def _shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
