"""The order in which the lines of a page are read, whatever their order in the file. Pure.

Columns are read one after the other, between the lines that span them; each from top to bottom. A table without ruled
lines looks like columns too. Text is prose in columns if its lines are long, or if the file itself writes it column by
column.
"""

import itertools
import re
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from stoa.documents.converting.sheet import Grid, Line, is_within

_LEFTWARD: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
LINES_MIN: Final = 3
"""The limits of a column of prose."""
LETTERS_MIN: Final = 12
"""The shortest usual line of a column of prose."""
SPANNING_SHARE: Final = 0.4
"""If a larger share of the lines crosses the gap, it does not divide columns."""
ROUNDING: Final = 4.0
"""Lines of one column begin within so many points."""
GUTTERS_TRIED: Final = 12
DEPTH_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class _Box:
    """A line, a part of one, or a grid with its lines. `place` is its position in the file."""

    lines: tuple[Line, ...]
    left: float
    right: float
    bottom: float
    top: float
    place: int
    is_grid: bool = False

    @property
    def size(self) -> float:
        return self.lines[0].size


_Boxes: TypeAlias = Sequence[_Box]


def ordered(lines: Sequence[Line], grids: Sequence[Grid]) -> tuple[Line, ...]:
    """The same lines, reordered. The lines of a grid are consecutive, and lines that cross columns are split into their
    parts."""
    whole = list(_boxes(lines, grids))
    parts = [part for box in whole for part in _cut(box)]
    if len(parts) < 2:
        return tuple(lines)
    columns = _columns(parts, DEPTH_MAX)
    return tuple(line for box in (columns if columns is not None else _rows(whole)) for line in box.lines)


def _boxes(lines: Sequence[Line], grids: Sequence[Grid]) -> Iterator[_Box]:
    inside: dict[int, list[tuple[int, Line]]] = {}
    for place, line in enumerate(lines):
        grid = next((number for number, one in enumerate(grids) if is_within(line, one.box)), None)
        if grid is None:
            yield _box(line, place)
        else:
            inside.setdefault(grid, []).append((place, line))
    for grid, found in inside.items():
        left, bottom, right, top = grids[grid].box
        yield _Box(tuple(line for _, line in found), left, right, bottom, top, found[0][0], is_grid=True)


def _box(line: Line, place: int) -> _Box:
    return _Box(
        (line,), line.left, line.right, line.baseline - line.size * 0.25, line.baseline + line.size * 0.75, place
    )


def _cut(box: _Box) -> Iterator[_Box]:
    if box.is_grid or not box.lines[0].parts:
        yield box
    else:
        yield from (_box(part, box.place) for part in box.lines[0].parts)


def _columns(boxes: _Boxes, depth: int) -> list[_Box] | None:
    """None where there are no columns."""
    gutter = _gutter(boxes) if depth else None
    if gutter is None:
        return None
    found: list[_Box] = []
    band: list[_Box] = []
    for box in sorted(boxes, key=lambda one: -one.top):
        if _side(box, gutter) != 0:
            band.append(box)
            continue
        found += [*_band(band, gutter, depth), box]
        band = []
    return [*found, *_band(band, gutter, depth)]


def _band(band: _Boxes, gutter: float, depth: int) -> list[_Box]:
    """The text between two boxes that span the columns: the left side, then the right one."""
    found: list[_Box] = []
    for side in (1, -1) if _is_leftward(band) else (-1, 1):
        part = [box for box in band if _side(box, gutter) == side]
        found += _columns(part, depth - 1) or _rows(part)
    return found


def _side(box: _Box, gutter: float) -> int:
    """-1 left of a gutter, which is where the right column begins; 1 right of it; 0 for what spans both columns."""
    if box.left >= gutter - ROUNDING:
        return 1
    return -1 if _end(box) <= gutter else 0


def _end(box: _Box) -> float:
    """The leftmost position at which a column right of this box may begin."""
    return box.right + box.size * 0.6


def _gutter(boxes: _Boxes) -> float | None:
    """Where a right column begins: the position at which most lines begin and that best divides the boxes."""
    starts = Counter(round(box.left / ROUNDING) for box in boxes if not box.is_grid)
    first = min(starts, default=0)
    lefts, ends = sorted(box.left for box in boxes), sorted(_end(box) for box in boxes)
    best: tuple[int, float] | None = None
    for start, count in starts.most_common(GUTTERS_TRIED):
        if start == first or count < LINES_MIN - 1:
            continue
        gutter = min(box.left for box in boxes if round(box.left / ROUNDING) == start)
        if not _may_divide(bisect_right(ends, gutter), len(lefts) - bisect_left(lefts, gutter - ROUNDING), len(boxes)):
            continue
        sides = [_side(box, gutter) for box in boxes]
        left = [box for box, side in zip(boxes, sides, strict=True) if side < 0]
        right = [box for box, side in zip(boxes, sides, strict=True) if side > 0]
        if _divides(left, right, len(boxes)):
            found = (min(len(left), len(right)), -gutter)
            best = max(best, found) if best else found
    return -best[1] if best else None


def _divides(left: _Boxes, right: _Boxes, count: int) -> bool:
    if not _may_divide(len(left), len(right), count):
        return False
    bottom, top = _span(left), _span(right)
    overlap = min(bottom[1], top[1]) - max(bottom[0], top[0])
    if overlap < 0.5 * min(bottom[1] - bottom[0], top[1] - top[0]):
        return False
    return (_is_prose(left) and _is_prose(right)) or _apart(left, right)


def _may_divide(left: int, right: int, count: int) -> bool:
    """Decided by how many boxes are on each side, of how many in all."""
    return min(left, right) >= LINES_MIN and count - left - right <= count * SPANNING_SHARE


def _span(boxes: _Boxes) -> tuple[float, float]:
    return min(box.bottom for box in boxes), max(box.top for box in boxes)


def _is_prose(boxes: _Boxes) -> bool:
    texts = [line.text for box in boxes if not box.is_grid for line in box.lines]
    return (
        bool(texts)
        and statistics.median(map(len, texts)) >= LETTERS_MIN
        and (statistics.median(len(text.split()) for text in texts) >= 2 or not any(text.isascii() for text in texts))
    )


def _apart(left: _Boxes, right: _Boxes) -> bool:
    """Whether the file writes one side completely before the other, each with several lines."""
    places = [(min(box.place for box in side), max(box.place for box in side)) for side in (left, right)]
    return places[0][1] < places[1][0] or places[1][1] < places[0][0]


def _rows(boxes: _Boxes) -> list[_Box]:
    """Rows from top to bottom; the boxes in one row from left to right."""
    found: list[list[_Box]] = []
    for box in sorted(boxes, key=lambda one: (-one.top, one.left)):
        row = found[-1] if found else None
        if row is not None and box.bottom + box.size * 0.35 >= row[0].bottom and not row[0].is_grid and not box.is_grid:
            row.append(box)
        else:
            found.append([box])
    leftward = _is_leftward(boxes)
    grids = [box for box in boxes if box.is_grid]
    return [
        box
        for row in found
        for box in _as_one(sorted(row, key=lambda one: -one.right if leftward else one.left), grids, leftward=leftward)
    ]


def _as_one(row: list[_Box], grids: _Boxes, *, leftward: bool) -> list[_Box]:
    """Joins the cells of a row, which the file may write separately, to one line of several parts. Boxes on both sides
    of a table are not joined: the line would cross the table and be dropped with it."""
    lines = [box.lines[0] for box in row]
    size = lines[0].size
    in_order = itertools.pairwise(row[::-1] if leftward else row)
    if (
        len(row) < 2
        or any(box.is_grid or abs(box.size - size) > 0.15 * size for box in row)
        or any(line.broken or line.fixed for line in lines[:-1])
        or any(one.right > other.left for one, other in in_order)
    ):
        return row
    whole = replace(
        lines[0],
        text=" ".join(line.text for line in lines),
        left=min(line.left for line in lines),
        right=max(line.right for line in lines),
        bold=all(line.bold for line in lines),
        fixed=all(line.fixed for line in lines),
        broken=lines[-1].broken,
        parts=tuple(part for line in lines for part in (line.parts or (line,))),
    )
    if any(is_within(whole, (one.left, one.bottom, one.right, one.top)) for one in grids):
        return row
    return [replace(row[0], lines=(whole,))]


def _is_leftward(boxes: _Boxes) -> bool:
    """Whether most of the text is Hebrew or Arabic."""
    text = "".join(line.text for box in boxes for line in box.lines)
    return not text.isascii() and len(_LEFTWARD.findall(text)) * 2 > len(text.replace(" ", ""))
