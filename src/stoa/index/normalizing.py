"""The one normal form of texts and queries: what the index, the snippets and the queries compare. Pure.

`normal` keeps the case, which words, codes and acronyms need; `folded` drops case and accents.
"""

import re
import unicodedata
from functools import cache
from typing import Final

FORM: Final = 2
"""The version of the analysis of texts. It is stored with each index; a query is analysed by the form of its index."""

_EMPHASIS: Final = re.compile(r"(\*{1,3}|~~|`+)(?=[^\s*`~])([^*`\n]*?[^\s*`~])\1")
_UNDERSCORES: Final = re.compile(r"(?<![^\W_])(_{1,3})(?=[^\s_])([^\n]*?[^\s_])\1(?![^\W_])")
_ESCAPE: Final = re.compile(r"\\([*_`~\[\]#<>|\\])")
_GROUPED: Final = re.compile("(?<=\\d)[\u00a0\u202f\u2009'\u2019](?=\\d{3}(?!\\d))")
_FOREIGN_DIGIT: Final = re.compile(r"(?![0-9])\d")
_POINTS: Final = (
    (0x0591, 0x05BD),
    (0x05BF, 0x05BF),
    (0x05C1, 0x05C2),
    (0x05C4, 0x05C5),
    (0x05C7, 0x05C7),
    (0x0610, 0x061A),
    (0x0640, 0x0640),
    (0x064B, 0x0652),
    (0x0656, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06DC),
    (0x06DF, 0x06E8),
    (0x06EA, 0x06ED),
    (0x08D3, 0x08FF),
    (0xFE00, 0xFE0F),
)
"""Vowel points of Hebrew and Arabic, the stroke that lengthens an Arabic word, variation selectors."""
_ACCENTS: Final = frozenset([*range(0x0300, 0x0370), 0x0653, 0x0654, 0x0655])
_LETTERS_OF_THEIR_OWN: Final = "\u0439"
"""Cyrillic short i: a letter, and no accented one."""
_UNDECOMPOSED: Final = str.maketrans(
    {"\u0131": "i", "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)


def normal(text: str) -> str:
    """NFKC, without marks of Markdown, format characters and vowel points; ASCII digits; grouped digits joined.

    >>> normal("Projekt**nummer** 1\u00a0000")
    'Projektnummer 1000'
    """
    if "*" in text or "`" in text or "~" in text:
        text = _EMPHASIS.sub(r"\2", text)
    if "_" in text:
        text = _UNDERSCORES.sub(r"\2", text)
    if "\\" in text:
        text = _ESCAPE.sub(r"\1", text)
    if "'" in text or not text.isascii():
        text = _GROUPED.sub("", text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text.translate(_dropped()))
    return _FOREIGN_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


def lowered(word: str, language: str) -> str:
    """Case folded; Turkish has a letter i with a dot and one without."""
    if word.isascii() and language != "turkish":
        return word.lower()
    if language == "turkish":
        word = word.replace("İ", "i").replace("I", "\u0131")
    return unicodedata.normalize("NFC", word.replace("İ", "i").casefold())


def folded(word: str) -> str:
    """A word in lower case without accents, as typed on other keyboards."""
    if word.isascii():
        return word
    parts = [
        letter if letter in _LETTERS_OF_THEIR_OWN else unicodedata.normalize("NFD", letter)
        for letter in word.translate(_UNDECOMPOSED)
    ]
    return unicodedata.normalize("NFC", "".join(c for c in "".join(parts) if ord(c) not in _ACCENTS))


def transcribed(word: str) -> str:
    """German umlauts in their transcription (ä → ae)."""
    return word.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")


@cache
def _dropped() -> dict[int, str | None]:
    """What leaves no trace, and hyphens and apostrophes in their plain form."""
    found: dict[int, str | None] = {}
    for first, last in _POINTS:
        found.update(dict.fromkeys(range(first, last + 1)))
    for code in (*range(0x00AD, 0x00AE), *range(0x0600, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC)):
        if unicodedata.category(chr(code)) == "Cf":
            found[code] = None
    return {**found, 0x2010: "-", 0x2011: "-", 0x2019: "'"}


@cache
def marks() -> str:
    """The combining marks, as a character class holds them: they are parts of words, which `\\w` does not know."""
    codes = [
        code
        for block in (range(0x0300, 0xAC00), range(0xFE20, 0xFE30), range(0x10A00, 0x12000))
        for code in block
        if unicodedata.category(chr(code))[0] == "M"
    ]
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)
