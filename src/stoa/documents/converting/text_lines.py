"""The lines of a PDF page, as pdfium finds them: text, position, font, and the gaps that may divide columns.

A page with sideways text is rotated until it is upright. Only the first, middle and last characters of a line are
queried for their font, and only those beside a space for their position: querying every character would be ten times
slower. Runs in the converting process only.
"""

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, TypeAlias

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from stoa.documents.converting import fast_pdfium, layout
from stoa.documents.converting.grids import Box, Point
from stoa.documents.converting.sheet import Line

GAP_SIZES: Final = 1.2
"""In font sizes: a wider space may divide columns. Spaces of justified text are narrower."""
SLANT_MAX: Final = 0.3
"""In radians from the horizontal or vertical: a line with a larger slant (a watermark) is read separately."""
Edges: TypeAlias = tuple[float, float]
"""Left and right."""
_SLANTED: Final = 4
_LEFTWARD: Final = re.compile("[\u0590-\u08ff]")
_SPACES: Final = re.compile(r"(?<=[^ \t])[ \t]+(?=[^ \t])")
_FIXED_PITCH: Final = 1
_BOLD_WEIGHT: Final = 650
_NAME_BYTES: Final = 128
_BOUNDED_UNITS: Final = 512
_UNSEEN: Final = dict.fromkeys(map(ord, "\x00\xad"))
_LINE_END_HYPHENS: Final = "\ufffe\x02"


@dataclass(frozen=True, slots=True)
class View:
    """A page after a number of quarter turns, with its origin in the lower left corner; `width` and `height` after
    turning."""

    turns: int
    left: float
    bottom: float
    width: float
    height: float

    def point(self, x: float, y: float) -> Point:
        x, y = x - self.left, y - self.bottom
        match self.turns:
            case 1:
                return y, self.height - x
            case 2:
                return self.width - x, self.height - y
            case 3:
                return self.width - y, x
            case _:
                return x, y

    def box(self, box: Box) -> Box:
        return _ordered(self.point(box[0], box[1]), self.point(box[2], box[3]))

    def back(self, box: Box) -> Box:
        """Converts a position in the view to one on the page."""
        return _ordered(self._back(box[0], box[1]), self._back(box[2], box[3]))

    def _back(self, x: float, y: float) -> Point:
        match self.turns:
            case 1:
                x, y = self.height - y, x
            case 2:
                x, y = self.width - x, self.height - y
            case 3:
                x, y = y, self.width - x
            case _:
                pass
        return x + self.left, y + self.bottom


def _ordered(one: Point, other: Point) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])


@dataclass(frozen=True, slots=True)
class PageText:
    """`view` is the rotation in which most of the text is upright, `lines` are the upright lines, and `asides` those in
    all other directions. `turned` maps words whose ligatures pdfium reverses to their correct spelling."""

    view: View
    lines: list[Line]
    asides: Sequence[list[Line]]
    turned: Mapping[str, str]


def read(page: pdfium.PdfPage, text_page: pdfium.PdfTextPage) -> PageText:
    found: dict[int, list[Line]] = {}
    weights: Counter[int] = Counter()
    glyphs = [_Glyphs(text_page, view) for view in _views(page)]
    turned: dict[str, str] = {}
    for turns, line in _lines(glyphs, turned):
        found.setdefault(turns, []).append(line)
        weights[turns % _SLANTED] += len(line.text) * (turns != _SLANTED)
    chosen = weights.most_common(1)[0][0] if weights else 0
    return PageText(glyphs[chosen].view, found.pop(chosen, []), list(found.values()), turned)


def _views(page: pdfium.PdfPage) -> Sequence[View]:
    """The four rotations of a page, by number of turns."""
    left, bottom, right, top = page.get_bbox()
    width, height = right - left, top - bottom
    return [View(turns, left, bottom, *((height, width) if turns % 2 else (width, height))) for turns in range(4)]


class _Glyphs:
    """The characters of a page in a view, by their index in the text."""

    def __init__(self, text_page: pdfium.PdfTextPage, view: View) -> None:
        self.page, self.view = text_page, view
        self._raw: Any = text_page.raw
        self._address = fast_pdfium.address_of(self._raw)
        self._box, self._places = fast_pdfium.room(ctypes.c_double, 4)
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._to_x, self._to_y = ctypes.byref(self._x), ctypes.byref(self._y)
        self._matrix, self._flags = pdfium_c.FS_MATRIX(), ctypes.c_int()
        self._matrix_reference, self._flags_reference = ctypes.byref(self._matrix), ctypes.byref(self._flags)
        self._name = ctypes.create_string_buffer(_NAME_BYTES)

    def edges(self, at: int) -> Edges | None:
        """Left and right."""
        to_left, to_right, to_bottom, to_top = self._places
        if not fast_pdfium.char_box(self._address, at, to_left, to_right, to_bottom, to_top):
            return None
        found, view = self._box, self.view
        if not view.turns:
            return found[0] - view.left, found[1] - view.left
        box = view.box((found[0], found[2], found[1], found[3]))
        return box[0], box[2]

    def may_be_apart(self, before: int, after: int, least: float) -> bool:
        """Whether there can be such a gap between two characters. Called for every space: nearly all of them are
        narrow."""
        left, right, bottom, top = self._places
        call, address, found = fast_pdfium.char_box, self._address, self._box
        if self.view.turns:
            one, other = self.edges(before), self.edges(after)
            return one is None or other is None or other[0] - one[1] >= least or one[0] - other[1] >= least
        if not call(address, before, left, right, bottom, top):
            return False
        begins, ends = found[0], found[1]
        if not call(address, after, left, right, bottom, top):
            return False
        return found[0] - ends >= least or begins - found[1] >= least

    def origin(self, at: int) -> Point | None:
        """The character's position on its baseline."""
        if not pdfium_c.FPDFText_GetCharOrigin(self._raw, at, self._to_x, self._to_y):
            return None
        return self.view.point(self._x.value, self._y.value)

    def size(self, asked: Sequence[int]) -> float:
        """The typical size of a line's first, middle and last characters. Many producers set fonts of size 1 and scale
        them."""
        first, last = (pdfium_c.FPDFText_GetFontSize(self._raw, at) for at in (asked[0], asked[-1]))
        usual = first
        if first != last and len(asked) > 2:
            usual = sorted((first, last, pdfium_c.FPDFText_GetFontSize(self._raw, asked[1])))[1]
        if not pdfium_c.FPDFText_GetMatrix(self._raw, asked[0], self._matrix_reference):
            return usual
        return usual * (math.hypot(self._matrix.c, self._matrix.d) or 1.0)

    def is_bold_and_fixed(self, asked: Sequence[int]) -> tuple[bool, bool]:
        """Whether the font of all these characters is bold, and whether it is fixed-width. In most lines the first
        character already answers both with no."""
        bold = fixed = True
        for at in asked:
            self._flags.value = 0
            length = pdfium_c.FPDFText_GetFontInfo(self._raw, at, self._name, _NAME_BYTES, self._flags_reference)
            name = self._name.value.lower() if 0 < length <= _NAME_BYTES else b""
            fixed = fixed and (
                bool(self._flags.value & _FIXED_PITCH) or any(mark in name for mark in (b"mono", b"courier"))
            )
            bold = bold and (
                any(mark in name for mark in (b"bold", b"black", b"heavy"))
                or pdfium_c.FPDFText_GetFontWeight(self._raw, at) >= _BOLD_WEIGHT
            )
            if not (bold or fixed):
                break
        return bold, fixed


def bounded(text_page: pdfium.PdfTextPage, box: Box) -> str:
    """The text in a box. `get_text_bounded` measures first and then reads, which searches the page twice; here nearly
    every table cell fits the first buffer."""
    raw: Any = text_page.raw
    left, bottom, right, top = box
    size = _BOUNDED_UNITS
    while True:
        buffer = ctypes.create_string_buffer(2 * size)
        units = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort))
        count = pdfium_c.FPDFText_GetBoundedText(raw, left, top, right, bottom, units, size)
        if count < size:
            return buffer.raw[: 2 * count].decode("utf-16-le", "ignore")
        size = max(2 * size, pdfium_c.FPDFText_GetBoundedText(raw, left, top, right, bottom, None, 0) + 1)


def unmarked(text: str) -> str:
    """Removes pdfium's marks of hyphens at line ends, and invisible characters."""
    return layout.hyphens(text.replace("\x02", "\ufffe")).translate(_UNSEEN)


def _lines(glyphs: Sequence[_Glyphs], turned: dict[str, str]) -> Iterator[tuple[int, Line]]:
    """Lines in the file's order, each with its direction. pdfium ends a line with CR LF and marks a hyphen at its end
    as U+FFFE."""
    text = glyphs[0].page.get_text_range()
    index = 0  # In UTF-16 units, like pdfium.
    for raw in text.split("\n"):
        content = raw.strip("\r\n\t \x00")
        if content:
            first = index + len(raw) - len(raw.lstrip())
            turns = _turns(glyphs[0].page, first)
            if _LEFTWARD.search(content):
                right = _ligatures_in_order(glyphs[0], first, content)
                turned |= {
                    word: other for word, other in zip(content.split(), right.split(), strict=False) if word != other
                }
                content = right
            line = _line(glyphs[turns % _SLANTED], first, content)
            if line is not None:
                yield turns, line
        index += _units(raw) + 1


def _ligatures_in_order(glyphs: _Glyphs, first: int, content: str) -> str:
    """Corrects right-to-left lines. pdfium reverses the whole line, but the letters of one ligature glyph are in
    logical order already, except for ligatures that are characters of their own."""
    if not content.isprintable() or _units(content) != len(content):
        return content
    found: list[str] = []
    start, place = 0, glyphs.edges(first)
    for at in range(1, len(content) + 1):
        here = glyphs.edges(first + at) if at < len(content) else None
        if here is None or here != place:
            letters = content[start:at]
            as_it_should_be = letters in _ligatures() and letters[::-1] not in _ligatures()
            found.append(letters if as_it_should_be else letters[::-1])
            start, place = at, here
    return "".join(found)


@cache
def _ligatures() -> frozenset[str]:
    """The letters of the ligatures among Unicode's presentation forms."""
    forms = (unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFB1D, 0xFE00), *range(0xFE70, 0xFEFD)))
    return frozenset(form for form in forms if len(form) > 1)


def _turns(text_page: pdfium.PdfTextPage, first: int) -> int:
    """Quarter turns counterclockwise; pdfium counts clockwise."""
    angle = pdfium_c.FPDFText_GetCharAngle(text_page, first)
    quarters = round(angle / (math.pi / 2))
    if angle < 0:
        return 0
    return -quarters % 4 if abs(angle - quarters * math.pi / 2) <= SLANT_MAX else _SLANTED


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _line(glyphs: _Glyphs, first: int, content: str) -> Line | None:
    broken = content[-1] in _LINE_END_HYPHENS
    if broken:
        content = content[:-1]
    last = first + max(_units(content), 1) - 1
    line = _whole(glyphs, first, last, content, broken=broken)
    gap = line.size * GAP_SIZES if line is not None else 0
    if line is None or (" " not in content and "\t" not in content):
        return line
    cuts = list(_gaps(glyphs, first, content, gap))
    if not cuts:
        return line
    begun, start = 0, glyphs.edges(first) or (line.left, line.left)
    end = glyphs.edges(last) or (line.right, line.right)
    parts: list[Line] = []
    for stop, before, again, after in [*cuts, (len(content), end, 0, end)]:
        goes_on = line.broken and stop == len(content)
        text = _readable(content[begun:stop])
        left, right = min(start[0], before[0]), max(start[1], before[1])
        parts.append(replace(line, text=text, left=left, right=right, broken=goes_on))
        begun, start = again, after
    return replace(line, parts=tuple(parts))


def _readable(content: str) -> str:
    return layout.LEADER.sub(" … ", unmarked(content))


def _gaps(glyphs: _Glyphs, first: int, content: str, least: float) -> Iterator[tuple[int, Edges, int, Edges]]:
    """Where a word ends before a wide gap, and where the next one begins: each as an index in the text, then as a
    position on the page. Lines may run right to left."""
    one_unit_each = _units(content) == len(content)
    for space in _SPACES.finditer(content):
        start, end = space.span()
        last = first + (start if one_unit_each else _units(content[:start])) - 1
        following = first + (end if one_unit_each else _units(content[:end]))
        if glyphs.may_be_apart(last, following, least):
            before, after = glyphs.edges(last), glyphs.edges(following)
            if before is not None and after is not None:
                yield start, before, end, after


def _whole(glyphs: _Glyphs, first: int, last: int, content: str, *, broken: bool) -> Line | None:
    origin = glyphs.origin(first)
    if origin is None:
        return None
    last = max(first, last)
    ends = [found for at in (first, last) if (found := glyphs.edges(at)) is not None]
    asked = tuple(dict.fromkeys((first, (first + last) // 2, last)))
    bold, fixed = glyphs.is_bold_and_fixed(asked)
    return Line(
        text=_readable(content),
        left=min((box[0] for box in ends), default=origin[0]),
        right=max((box[1] for box in ends), default=origin[0]),
        baseline=origin[1],
        size=round(glyphs.size(asked), 1),
        bold=bold,
        fixed=fixed,
        broken=broken,
    )
