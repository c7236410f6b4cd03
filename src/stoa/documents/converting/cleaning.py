"""Removes what is not text: control characters, terminal colours, invisible characters, base64 data. Pure."""

import re
from typing import Final

BASE64_CHARACTERS_MIN: Final = 200
"""Shorter runs may be keys and hashes that somebody searches for."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_OVERSTRUCK: Final = re.compile(r"[^\n\x08]\x08")
"""A character and a backspace: how manual pages print bold and underlined letters."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]+")
_LINE_BREAKS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE: Final = re.compile("[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Soft hyphens, zero width spaces, marks of direction. The two joiners stay: Persian and emoji need them."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which JSON can escape: they cannot be stored."""
_BARE: Final = re.compile(
    f"{_SURROGATE.pattern}|{_CONTROL.pattern}|\x1b|{_LINE_BREAKS.pattern}|{_INVISIBLE.pattern}|[\ue000-\uf8ff]"
)
_PRIVATE: Final = re.compile("[\ue000-\uf8ff]+")
_BULLETS: Final = dict.fromkeys(
    map(chr, (0xF06C, 0xF06E, 0xF071, 0xF075, 0xF076, 0xF077, 0xF09F, 0xF0A7, 0xF0A8, 0xF0B7, 0xF0D8, 0xF0DA,
              0xF0FC, 0xF0FE, 0xF02D)), "\u2022",
)  # fmt: skip
"""Bullets of Symbol and Wingdings, whose characters are in the private use area."""
_ARROWS: Final = {"\uf0df": "\u2190", "\uf0e0": "\u2192", "\uf0e1": "\u2191", "\uf0e2": "\u2193"}
_KNOWN: Final = {**_BULLETS, **_ARROWS, "\uf020": " "}
_SMALL: Final = re.compile("[\uf721-\uf77a\uf7a1-\uf7fe]")
"""Small capitals and old-style figures of Adobe's fonts: their offset in the private use area is that of the character
in Latin 1."""
_ITEM: Final = re.compile("^[ \t]*\u2022[ \t]*", re.MULTILINE)
_DATA_URI: Final = re.compile(
    r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+=-]+)*;base64,[A-Za-z0-9+/=_%\s-]{0,80}[A-Za-z0-9+/=_%-]*"
)
_BASE64: Final = re.compile(
    r"(?:[A-Za-z0-9+/_-]{60,100}[ \t]*\n[ \t]*){3,}[A-Za-z0-9+/_-]*={0,2}"
    rf"|[A-Za-z0-9+/_-]{{{BASE64_CHARACTERS_MIN},}}={{0,2}}"
)


def clean(text: str) -> str:
    """Makes lines end in a newline. Removes characters that are not readable, or replaces them by a space between two
    words."""
    if not _BARE.search(text):
        return text
    text = _LINE_BREAKS.sub("\n", text)
    if "\x08" in text:
        text = _OVERSTRUCK.sub("", text)
    text = _apart(_ESCAPES, text)
    text = _SURROGATE.sub("\ufffd", _apart(_CONTROL, text))
    text = _INVISIBLE.sub("", text)
    return _without_private(text) if _PRIVATE.search(text) else text


def _without_private(text: str) -> str:
    """Maps characters of the private use area to what fonts show there; removes unknown ones."""
    text = _SMALL.sub(lambda found: chr(ord(found[0]) - 0xF700), text)
    text = _PRIVATE.sub(lambda found: "".join(_KNOWN.get(one, one) for one in found[0]), text)
    return _apart(_PRIVATE, _ITEM.sub("- ", text))


def without_data(text: str) -> tuple[str, int]:
    """The text without `data:` URIs and other base64 data, and how many pieces of it there were."""
    count = 0

    def replaced(found: re.Match[str]) -> str:
        nonlocal count
        if not found[0].startswith("data:") and not _is_base64(found[0]):
            return found[0]
        count += 1
        return ""

    if "base64," in text:
        text = _DATA_URI.sub(replaced, text)
    return _BASE64.sub(replaced, text), count


def _is_base64(run: str) -> bool:
    """Whether a run is base64: it mixes capitals, small letters and digits. Long words, DNA and numbers contain only
    one kind."""
    return all(re.search(kind, run) for kind in ("[A-Z]", "[a-z]", "[0-9+/]"))


def _apart(pattern: re.Pattern[str], text: str) -> str:
    """Cuts out matches, and keeps the words before and behind each apart."""

    def replaced(found: re.Match[str]) -> str:
        before, behind = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        return " " if before.isalnum() and behind.isalnum() else ""

    return pattern.sub(replaced, text)
