"""The labels of numbered paragraphs in Word documents: `3.2`, `(a)`, bullets. They are counted here as Word counts
them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from stoa.documents.converting.packages import Package

BULLET: Final = "-"
LEVELS: Final = 9
NUMBER_MAX: Final = 10_000
"""Above it, letters and Roman numerals are shown as digits."""
_PLACE: Final = re.compile(r"%([1-9])")
_ITEM: Final = re.compile(r" *(?:- |\d{1,9}\. )")
_PLAIN: Final = re.compile(r"(\d{1,9})[.)]")
_ROMAN: Final = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Level:
    style: str
    text: str
    start: int


_NO_LEVEL: Final = _Level("bullet", "", 1)


class Numbers:
    """The current number of each list. Paragraphs must be passed in the document's order."""

    def __init__(self, package: Package) -> None:
        self._lists: dict[str, tuple[str, Mapping[int, _Level]]] = {}
        self._counted: dict[str, list[int | None]] = {}
        for part in package.related(package.main, "numbering"):
            root = package.tree(part)
            if root is not None:
                self._read(root)

    def _read(self, root: Element) -> None:
        abstract = {one.get("abstractNumId", ""): _levels(one) for one in root.iter("abstractNum")}
        for one in root.iter("num"):
            link = one.find("abstractNumId")
            number = link.get("val", "") if link is not None else ""
            levels = dict(abstract.get(number, {}))
            levels |= {level: found for inner in one.iter("lvlOverride") for level, found in _levels(inner).items()}
            restarts = one.find("lvlOverride/startOverride") is not None
            self._lists[one.get("numId", "")] = (f"{number}/{one.get('numId')}" if restarts else number, levels)

    def label(self, numbered: tuple[str, int]) -> str | None:
        """The label before the paragraph; None where its list is unknown."""
        number, level = numbered[0], min(max(numbered[1], 0), LEVELS - 1)
        if number not in self._lists:
            return BULLET if number not in ("", "0") else None
        key, levels = self._lists[number]
        found = levels.get(level, _NO_LEVEL)
        counted = self._counted.setdefault(key, [None] * LEVELS)
        before = counted[level]
        counted[level] = found.start if before is None else before + 1
        counted[level + 1 :] = [None] * (LEVELS - level - 1)
        if found.style == "none":
            return None
        if found.style == "bullet" or not _PLACE.search(found.text):
            return BULLET

        def shown(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            style, value = levels.get(at, _NO_LEVEL), counted[at]
            return _number(style.start if value is None else value, style.style)

        return " ".join(_PLACE.sub(shown, found.text).split())


def _levels(element: Element) -> dict[int, _Level]:
    found: dict[int, _Level] = {}
    for one in element.iter("lvl"):
        place = one.get("ilvl", "")
        if place.isdigit():
            values = {inner.tag: inner.get("val", "") for inner in one}
            start = values.get("start", "1")
            found[int(place)] = _Level(
                values.get("numFmt", "decimal"), values.get("lvlText", ""), int(start) if start.isdigit() else 1
            )
    return found


def _number(value: int, style: str) -> str:
    if 0 < value < NUMBER_MAX:
        match style:
            case "lowerLetter" | "upperLetter":
                letters = chr(97 + (value - 1) % 26) * ((value - 1) // 26 + 1)
                return letters.upper() if style.startswith("upper") else letters
            case "lowerRoman" | "upperRoman":
                return _roman(value).upper() if style.startswith("upper") else _roman(value)
            case "decimalZero":
                return f"{value:02}"
            case _:
                pass
    return str(value)


def _roman(value: int) -> str:
    found = ""
    for worth, letters in _ROMAN:
        found += letters * (value // worth)
        value %= worth
    return found


def item(label: str, level: int, text: str) -> str:
    """A paragraph of a list. Labels that Markdown cannot express are written before the text."""
    indent, lines = "  " * min(level, LEVELS), text.replace("\n", " ")
    if label == BULLET:
        return f"{indent}- {lines}"
    plain = _PLAIN.fullmatch(label)
    return f"{indent}{plain[1]}. {lines}" if plain else f"{indent}- {label} {lines}"


def is_item(block: str) -> bool:
    return _ITEM.match(block) is not None
