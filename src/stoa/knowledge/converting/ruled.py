"""Tables that a PDF draws with lines, and the page around them.

A PDF knows no tables, only lines and words. xberg guesses tables from how the words stand; a second font or a cell of two
lines makes it see loose words. Where the lines are drawn nothing needs guessing: they are the grid.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from stoa.knowledge.converting.texts import markdown_row

LINES_MAX: Final = 4_000
"""A drawing or a map has tens of thousands of strokes and no table; a page of cells has hundreds."""
CELLS_MAX: Final = 2_000
_THIN: Final = 2.5
_NEAR: Final = 3.0
_HEADING_CHARACTERS_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class Box:
    """In points, y upwards, as PDF has it."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: "Box") -> bool:
        return (
            self.left <= other.right + _NEAR
            and other.left <= self.right + _NEAR
            and self.bottom <= other.top + _NEAR
            and other.bottom <= self.top + _NEAR
        )

    def joined(self, other: "Box") -> "Box":
        return Box(min(self.left, other.left), min(self.bottom, other.bottom), max(self.right, other.right), max(self.top, other.top))

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.bottom <= y <= self.top


@dataclass(frozen=True, slots=True)
class RuledTable:
    box: Box
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        width = len(self.rows[0])
        lines = [markdown_row(list(row), width) for row in self.rows]
        return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: float
    box: Box


def tables(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage) -> list[RuledTable]:
    """The tables with drawn rows and columns (two at least of each), from top to bottom."""
    strokes: list[Box] = []
    for item in page.get_objects(filter=(pdfium_c.FPDF_PAGEOBJ_PATH,), max_depth=3):
        box = Box(*item.get_bounds())
        if min(box.right - box.left, box.top - box.bottom) <= _THIN:
            strokes.append(box)
        if len(strokes) > LINES_MAX:
            return []
    found = [table for group in _groups(strokes) if (table := _table(group, textpage)) is not None]
    return sorted(found, key=lambda table: -table.box.top)


def _groups(strokes: Sequence[Box]) -> list[list[Box]]:
    """Strokes that touch, directly or through others. From top to bottom, so that only open groups are compared."""
    groups: list[tuple[Box, list[Box]]] = []
    for stroke in sorted(strokes, key=lambda box: -box.top):
        box, members = stroke, [stroke]
        apart: list[tuple[Box, list[Box]]] = []
        for other, others in groups:
            if box.touches(other):
                box, members = box.joined(other), others + members
            else:
                apart.append((other, others))
        groups = [*apart, (box, members)]
    return [members for _, members in groups]


def _table(strokes: Sequence[Box], textpage: pdfium.PdfTextPage) -> RuledTable | None:
    across = [box for box in strokes if box.right - box.left > _THIN]
    upright = [box for box in strokes if box.top - box.bottom > _THIN]
    ys = _merged([(box.bottom + box.top) / 2 for box in across])[::-1]
    xs = _merged([(box.left + box.right) / 2 for box in upright])
    if across and upright:  # a table may leave its outer edges open
        xs = _merged([*xs, min(box.left for box in across), max(box.right for box in across)])
        ys = _merged([*ys, min(box.bottom for box in upright), max(box.top for box in upright)])[::-1]
    if len(xs) < 3 or len(ys) < 3 or (len(xs) - 1) * (len(ys) - 1) > CELLS_MAX:
        return None
    rows = [
        tuple(" ".join(textpage.get_text_bounded(left, bottom, right, top).split()) for left, right in pairwise(xs)) for top, bottom in pairwise(ys)
    ]
    rows = [row for row in rows if any(row)]
    if len(rows) < 2 or sum(1 for row in rows for cell in row if cell) * 2 < len(rows) * len(rows[0]):
        return None  # a frame or a chart: most of its cells are empty
    return RuledTable(Box(xs[0], ys[-1], xs[-1], ys[0]), tuple(rows))


def _merged(values: Sequence[float]) -> list[float]:
    merged: list[float] = []
    for value in sorted(values):
        if not merged or value - merged[-1] > _NEAR:
            merged.append(value)
    return merged


def page_markdown(textpage: pdfium.PdfTextPage, found: Sequence[RuledTable]) -> str:
    """The page with its ruled tables in place; the words outside them as paragraphs, larger ones as headings."""
    lines = _lines(textpage, [table.box for table in found])
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    blocks: list[str] = [table.markdown() for table in found if _line_above(table, lines) is None]
    before: _Line | None = None
    for number, line in enumerate(lines):
        if line.size > body * 1.15 and len(line.text) <= _HEADING_CHARACTERS_MAX:
            blocks.append(f"{'#' if line.size > body * 1.9 else '##'} {line.text}")
            before = None
        elif before is not None and _continues(before, line, body):
            blocks[-1] += "\n" + line.text
            before = line
        else:
            blocks.append(line.text)
            before = line
        here = [table.markdown() for table in found if _line_above(table, lines) == number]
        if here:
            blocks.extend(here)
            before = None
    return "\n\n".join(blocks)


def _continues(before: _Line, line: _Line, body: float) -> bool:
    return abs(before.box.bottom - line.box.bottom) < 1.4 * body and abs(before.size - line.size) < 1


def _line_above(table: RuledTable, lines: Sequence[_Line]) -> int | None:
    """The number of the line that stands nearest above the table. Not the line drawn before it: many programs draw the
    page's foot first."""
    above = [
        (line.box.bottom, number)
        for number, line in enumerate(lines)
        if line.box.bottom >= table.box.top - _NEAR and line.box.left < table.box.right and table.box.left < line.box.right
    ]
    return min(above)[1] if above else None


def _lines(textpage: pdfium.PdfTextPage, without: Sequence[Box]) -> list[_Line]:
    lines: list[_Line] = []
    letters: list[str] = []
    boxes: list[Box] = []
    raw: Any = textpage.raw
    count = textpage.count_chars()
    for index in range(count + 1):
        letter = chr(pdfium_c.FPDFText_GetUnicode(raw, index)) if index < count else "\n"
        if letter in "\r\n":
            if boxes and (text := "".join(letters).strip()):
                lines.append(_Line(text, max(box.top - box.bottom for box in boxes), reduce(Box.joined, boxes)))
            letters, boxes = [], []
            continue
        box = Box(*textpage.get_charbox(index, loose=True))
        if any(table.holds((box.left + box.right) / 2, (box.bottom + box.top) / 2) for table in without):
            continue
        letters.append(letter)
        if not letter.isspace():
            boxes.append(box)
    return lines
