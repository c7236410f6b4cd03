"""Finds tables in ruled lines: which lines touch one another, and which cells they enclose. Pure."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top, in points from the page's lower left corner."""
Point: TypeAlias = tuple[float, float]
RULES_MAX: Final = 600
"""The limit of lines, because finding grids compares pairs of them; a table of 200 rows and 10 columns has some 210."""
CELLS_MAX: Final = 2_000
LENGTH_MIN: Final = 4.0
STRAIGHT: Final = 1.0
NEAR: Final = 3.0


class Rule(NamedTuple):
    """A straight line: horizontal at `at` = y from x `start` to `end`, or vertical at `at` = x from y `start` to
    `end`."""

    level: bool
    at: float
    start: float
    end: float


def rule(one: Point, other: Point) -> Iterator[Rule]:
    """The line between two points, if it is horizontal or vertical and long enough for a table."""
    (x0, y0), (x1, y1) = one, other
    if abs(y1 - y0) <= STRAIGHT and abs(x1 - x0) >= LENGTH_MIN:
        yield Rule(True, (y0 + y1) / 2, min(x0, x1), max(x0, x1))
    elif abs(x1 - x0) <= STRAIGHT and abs(y1 - y0) >= LENGTH_MIN:
        yield Rule(False, (x0 + x1) / 2, min(y0, y1), max(y0, y1))


def grids(rules: Sequence[Rule]) -> list[tuple[Box, list[list[Box | None]]]]:
    """The tables that the lines form: the outer box of each, and the boxes of its cells row by row from the top.

    A cell is None where a missing line joins it to the cell on its left or above, whose box then covers it. A table has
    at least two rows and two columns; anything less is a frame.
    """
    found: list[tuple[Box, list[list[Box | None]]]] = []
    merged = _merged(rules)
    if len(merged) > RULES_MAX:
        return []
    for group in _connected(merged):
        ys = _stops([r.at for r in group if r.level])
        xs = _stops([r.at for r in group if not r.level])
        if len(ys) < 3 or len(xs) < 3 or len(ys) * len(xs) > CELLS_MAX:
            continue
        found.append(((xs[0], ys[0], xs[-1], ys[-1]), _cells(xs, ys, group)))
    return found


class Beside(Protocol):
    """A line of text left or right of a table, beside one of its rows."""

    @property
    def left(self) -> float: ...
    @property
    def right(self) -> float: ...
    @property
    def baseline(self) -> float: ...


def widened(
    box: Box, rows: list[list[Box | None]], left: Sequence[Beside], right: Sequence[Beside]
) -> tuple[Box, list[list[Box | None]]]:
    """Adds a first and last column that no line encloses: texts that continue left or right of the table in most of its
    rows."""
    tops = [max(cell[3] for cell in row if cell is not None) for row in rows]
    bands = list(zip([*tops[1:], box[1]], tops, strict=True))

    def is_column(lines: Sequence[Beside]) -> bool:
        held = [any(bottom <= one.baseline <= top for one in lines) for bottom, top in bands]
        return sum(held) >= max(2, len(bands) / 2)

    start = min(one.left for one in left) - 1 if is_column(left) else box[0]
    end = max(one.right for one in right) + 1 if is_column(right) else box[2]
    wide: list[list[Box | None]] = []
    for row, (bottom, top) in zip(rows, bands, strict=True):
        first: list[Box | None] = [(start, bottom, box[0], top)] if start < box[0] else []
        last: list[Box | None] = [(box[2], bottom, end, top)] if end > box[2] else []
        wide.append([*first, *row, *last])
    return (start, box[1], end, box[3]), wide


def _merged(rules: Sequence[Rule]) -> list[Rule]:
    """Joins segments of one line, drawn cell by cell or as both edges of a thin box."""
    merged: list[Rule] = []
    for one in sorted(rules, key=lambda r: (r.level, round(r.at / NEAR), r.start)):
        for position in range(len(merged) - 1, max(-1, len(merged) - 9), -1):
            last = merged[position]
            if last.level == one.level and abs(last.at - one.at) <= NEAR and one.start <= last.end + NEAR:
                merged[position] = Rule(last.level, last.at, min(last.start, one.start), max(last.end, one.end))
                break
        else:
            merged.append(one)
    return merged


def _connected(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Groups of lines that touch one another."""
    group_of = list(range(len(rules)))

    def root(number: int) -> int:
        while group_of[number] != number:
            group_of[number] = group_of[group_of[number]]
            number = group_of[number]
        return number

    levels = [number for number, r in enumerate(rules) if r.level]
    uprights = [number for number, r in enumerate(rules) if not r.level]
    for i in levels:
        a = rules[i]
        for j in uprights:
            b = rules[j]
            if a.start - NEAR <= b.at <= a.end + NEAR and b.start - NEAR <= a.at <= b.end + NEAR:
                group_of[root(i)] = root(j)
    groups: dict[int, list[Rule]] = {}
    for number, one in enumerate(rules):
        groups.setdefault(root(number), []).append(one)
    return list(groups.values())


def _stops(values: list[float]) -> list[float]:
    """Distinct positions; nearly equal ones count as one."""
    stops: list[float] = []
    for value in sorted(values):
        if not stops or value - stops[-1] > NEAR:
            stops.append(value)
    return stops


def _cells(xs: list[float], ys: list[float], group: list[Rule]) -> list[list[Box | None]]:
    levels = {y: _near(y, [r for r in group if r.level]) for y in ys}
    uprights = {x: _near(x, [r for r in group if not r.level]) for x in xs}

    rows: list[list[Box | None]] = []
    for bottom, top in reversed(list(itertools.pairwise(ys))):
        row: list[Box | None] = []
        for number, (left, right) in enumerate(itertools.pairwise(xs)):
            above = rows[-1][number] if rows else None
            if number and row[-1] is not None and not _is_ruled(uprights[left], bottom, top):
                row[-1] = (row[-1][0], row[-1][1], right, row[-1][3])
                row.append(None)
            elif above is not None and not _is_ruled(levels[top], left, right):
                rows[-1][number] = (above[0], bottom, above[2], above[3])
                row.append(None)
            else:
                row.append((left, bottom, right, top))
        if all(cell is None for cell in row):
            continue  # No line at all above this row: it belongs to the row before.
        rows.append(row)
    return rows


def _near(at: float, rules: Sequence[Rule]) -> Sequence[tuple[float, float]]:
    """The ranges of the lines at a position."""
    return [(r.start, r.end) for r in rules if abs(r.at - at) <= NEAR]


def _is_ruled(rules: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    middle = (start + end) / 2
    return any(first <= middle <= last for first, last in rules)
