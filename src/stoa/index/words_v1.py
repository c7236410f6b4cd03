"""A text as the terms that keyword search knows. Pure.

Two kinds: words, which PostgreSQL's dictionaries stem afterwards, and codes, which stay as they are: `ERR-4711`,
`foo_bar.baz`, `§ 12a`, `C++`. The parts of a code count as words too, so that half of it finds it, and the whole finds
it first.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

CHARACTERS_MAX: Final = 64
"""Of one term: more is no word."""
CODE: Final = "c"
WORD: Final = "w"

_WORD: Final = re.compile(r"[^\W_]+")
_COMPOUND: Final = re.compile(
    r"[^\W_]+(?:['\u2019][^\W_]+)?(?:(?:[-_./:\\@+#&]|::|->)[^\W_]+)+|[^\W\d_]{1,3}(?:\+\+|#)"
)
_MARKS: Final = frozenset("-_./:\\@+#&>")
_SECTION: Final = re.compile(r"\u00a7+\s*[^\W_]+(?:[.-][^\W_]+)*")
_PIECES: Final = re.compile(r"[./:\\@]+")
_HUMP: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WITHOUT_SPACES: Final = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
"""Thai, Japanese, Chinese, Korean: every two neighbours are a word."""


def raw_terms(text: str) -> Iterator[str]:
    """`w` + a word in lower case, not stemmed yet, or `c` + a code; as often as it stands there."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    for word in _WORD.findall(text):
        if word.islower() and word.isascii():
            yield WORD + word[:CHARACTERS_MAX]
        else:
            yield from _words(word)
    for token in text.split():
        if not _MARKS.isdisjoint(token):
            for code in _COMPOUND.findall(token):
                yield from _codes(code)
    if "\u00a7" in text:
        for code in _SECTION.findall(text):
            yield from _codes(code)


def tokens(text: str) -> list[str]:
    """Pieces whose terms, together, are those of the text: what was learnt of one holds wherever it stands."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    found = text.split()
    return [*found, *("".join(section.split()) for section in _SECTION.findall(text))] if "\u00a7" in text else found


def is_stemmed(word: str) -> bool:
    """Whether a dictionary is asked for a word; what holds digits is a name of something."""
    return word.isalpha() and not _WITHOUT_SPACES.search(word)


def _words(token: str) -> Iterator[str]:
    if not token.isascii():
        runs = _WITHOUT_SPACES.findall(token)
        for run in runs:
            yield from (WORD + run[start : start + 2] for start in range(max(1, len(run) - 1)))
        if runs:
            yield from (WORD + rest.lower()[:CHARACTERS_MAX] for rest in _WITHOUT_SPACES.split(token) if rest)
            return
    yield WORD + token.lower()[:CHARACTERS_MAX]
    if token[1:].lower() != token[1:] and token[1:].upper() != token[1:]:  # getUserName: its humps find it too
        humps = _HUMP.findall(token)
        if len(humps) > 1:
            yield from (WORD + hump.lower()[:CHARACTERS_MAX] for hump in humps)


def _codes(token: str) -> Iterator[str]:
    whole = re.sub(r"\s+", "", token).lower()
    yield CODE + whole[:CHARACTERS_MAX]
    for piece in _PIECES.split(whole):
        if piece != whole and _COMPOUND.fullmatch(piece):
            yield CODE + piece[:CHARACTERS_MAX]
