"""A text as the terms that keyword search knows: words, codes, and characters of scripts without spaces. Pure.

A raw term is a letter and a text. `w`: a word, which is stemmed afterwards. `a`: a word in capitals, which may be a
name even where the word is a stop word (WHO, IT). `c`: what stays as it is, such as numbers and codes: `ERR-4711` is
written `err4711`, with its parts beside it, so that half of it finds it and the whole finds it first. `u`: a single
character of a script without spaces, which is found by neighbours in pairs (`c`) otherwise.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

from stoa.index.normalizing import lowered, marks, normal

CHARACTERS_MAX: Final = 64
"""Of one term: more is no word."""
WORD: Final = "w"
CAPITALS: Final = "a"
CODE: Final = "c"
SINGLE: Final = "u"
STOP: Final = "s"
"""A stop word: asked for only where a query holds nothing else."""
FOLDED: Final = "f"
"""A stem as it is found by those who leave out its accents."""
HEAD: Final = "h"
TAIL: Final = "t"
"""The stem of a long word, and the same written backwards, in languages that write compounds as one word: what begins
with `gartna` ends in `antrag`. Apart from the words, among which those of other languages are too."""
COUNTED: Final = WORD + CODE
"""Kinds that count for the length of a chunk: the others are second forms of these."""

_CAPITALS_MAX: Final = 6
_SEPARATORS: Final = re.compile(r"[-_./:\\@+#&>'\s]+")
_MARKS: Final = frozenset("-_./:\\@+#&>'")
_PIECES: Final = re.compile(r"[./:\\@]+")
_HUMP: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MIXED: Final = re.compile(r"([^\W\d_]{2,})(\d{2,})|(\d{2,})([^\W\d_]{2,})")
_NUMBER: Final = re.compile(r"(?<![\w.,'-])\d+(?:[.,']\d+)+(?![\w-])")
_THOUSANDS: Final = re.compile(r"(\d{1,3})((?:([.,'])\d{3})(?:\3\d{3})*)(?:(?!\3)[.,](\d+))?")
_DENSE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese, Korean: words are not separated, or only loosely."""


_SECTION: Final = "\x1f\x1f"
"""Before a token that is a section alone (`§ 12a`): what else stands in it is a token of its own. No other token begins
with white space."""


class _Patterns(NamedTuple):
    word: re.Pattern[str]
    compound: re.Pattern[str]
    section: re.Pattern[str]
    dense: re.Pattern[str]
    cluster: re.Pattern[str]


@cache
def _patterns(*, ascii_only: bool) -> _Patterns:
    extra = "" if ascii_only else marks()
    letter = rf"(?:[^\W_]|[{extra}])" if extra else r"[^\W_]"
    return _Patterns(
        re.compile(rf"[^\W_][\w{extra}]*" if extra else r"[^\W_]+"),
        re.compile(rf"{letter}+(?:'{letter}+)?(?:(?:[-_./:\\@+#&']|::|->){letter}+)+|[^\W\d_]{{1,3}}(?:\+\+|#)"),
        re.compile(rf"\u00a7+\s*{letter}+(?:[.-]{letter}+)*"),
        re.compile(rf"[{_DENSE}](?:[{_DENSE}{extra}])*"),
        re.compile(rf"[^{extra}][{extra}]*" if extra else "."),
    )


def raw_terms(text: str, language: str = "english", *, asked: bool = False) -> Iterator[str]:
    """The raw terms of a text, as often as they stand there. They are as many, in the same order, in every language.

    `asked`: the text is a query, which needs single characters only where they stand alone.
    """
    yield from normal_terms(normal(text), language, asked=asked)


def normal_terms(text: str, language: str, *, asked: bool = False) -> Iterator[str]:
    """The same of a text in its normal form."""
    patterns = _patterns(ascii_only=text.isascii())
    if text.startswith(_SECTION):
        yield CODE + _bounded(text.removeprefix(_SECTION), language)
        return
    for word in patterns.word.findall(text.replace("_", " ")):
        if word.isascii() and word.islower() and word.isalpha():
            yield WORD + word[:CHARACTERS_MAX]
        else:
            yield from _words(word, language, patterns, asked=asked)
    for token in text.split():
        if not _MARKS.isdisjoint(token) or "," in token:
            yield from _codes_of(token, language, patterns)
    if "\u00a7" in text:
        for section in patterns.section.findall(text):
            yield CODE + _bounded("".join(section.split()), language)


def tokens(text: str) -> list[str]:
    """Pieces in normal form whose terms (`normal_terms`), together, are those of the text: what was learnt of one holds
    wherever it stands."""
    text = normal(text)
    found = text.split()
    if "\u00a7" not in text:
        return found
    sections = _patterns(ascii_only=False).section.findall(text)
    return [*found, *(_SECTION + "".join(section.split()) for section in sections)]


def is_stemmed(word: str) -> bool:
    """Whether a dictionary is asked for a word; what holds digits is a name of something."""
    return not any(character.isdigit() for character in word)


def _bounded(word: str, language: str) -> str:
    return lowered(word, language)[:CHARACTERS_MAX]


def _words(word: str, language: str, patterns: _Patterns, *, asked: bool) -> Iterator[str]:
    if not word.isascii() and (runs := patterns.dense.findall(word)):
        for run in runs:
            yield from _pairs(patterns.cluster.findall(run), asked=asked)
        for rest in patterns.dense.sub(" ", word).split():
            yield from _words(rest, language, patterns, asked=asked)
        return
    low = _bounded(word, language)
    if not is_stemmed(word):
        yield CODE + low
        if match := _MIXED.fullmatch(word):
            yield from (_part(part, language) for part in match.groups() if part)
            return
    elif word.isupper() and 2 <= len(word) <= _CAPITALS_MAX:
        yield CAPITALS + low
        return
    else:
        yield WORD + low
    if word[1:].lower() != word[1:] and word[1:].upper() != word[1:]:  # getUserName: its humps find it too
        humps = _HUMP.findall(word)
        if len(humps) > 1:
            yield from (_part(hump, language) for hump in humps)


def _part(part: str, language: str) -> str:
    return (WORD if is_stemmed(part) else CODE) + _bounded(part, language)


def _pairs(clusters: list[str], *, asked: bool) -> Iterator[str]:
    """Every character, and every two neighbours."""
    if not asked or len(clusters) == 1:
        yield from (SINGLE + cluster for cluster in clusters)
    yield from (CODE + first + second for first, second in pairwise(clusters))


def _codes_of(token: str, language: str, patterns: _Patterns) -> Iterator[str]:
    for number in _NUMBER.findall(token):
        yield CODE + _number(number)[:CHARACTERS_MAX]
    if _MARKS.isdisjoint(token):
        return
    for code in patterns.compound.findall(token):
        if _NUMBER.fullmatch(code):
            continue
        yield from _code(code, language)
        pieces = _PIECES.split(code)
        for piece in pieces if len(pieces) > 1 else ():
            if patterns.compound.fullmatch(piece) and not _NUMBER.fullmatch(piece):
                yield from _code(piece, language)


def _code(code: str, language: str) -> Iterator[str]:
    """A code without its separators, as a word where it is one: `e-mail` and `email` are the same."""
    if code.endswith(("++", "#")):
        yield CODE + _bounded(code, language)
        return
    joined = _SEPARATORS.sub("", code)
    if joined.isdigit():  # A date or a number of an account: its separators say which.
        joined = code
    yield _part(joined, language)


def _number(number: str) -> str:
    """`1,000,000` and `1.000.000` as one number; `7,5` and `7.5` too."""
    match = _THOUSANDS.fullmatch(number)
    if match is None:
        return number.replace(",", ".").replace("'", "")
    whole = match[1] + re.sub(r"\D", "", match[2])
    return f"{whole}.{match[4]}" if match[4] else whole
