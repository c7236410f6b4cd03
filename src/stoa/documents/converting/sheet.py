"""The content of a page: lines of text, and the grids around some of them. Coordinates are points from its lower left
corner. Pure."""

from dataclasses import dataclass

from stoa.documents.converting.grids import Box


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool = False
    fixed: bool = False
    broken: bool = False
    """The line ended in a hyphen, which is already removed."""
    parts: tuple["Line", ...] = ()
    """The line split at its wide gaps, if any: columns, or the cells of a row."""


@dataclass(frozen=True, slots=True)
class Grid:
    box: Box
    cells: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The content of one page."""

    height: float
    lines: tuple[Line, ...]
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
    """Values of form fields, and comments."""
    is_scan: bool = False
    asides: tuple[tuple[Line, ...], ...] = ()
    """Lines in other directions than the page's own, grouped by direction: labels along an edge, watermarks."""


def is_within(line: Line, box: Box) -> bool:
    x, y = (line.left + line.right) / 2, line.baseline + line.size / 4
    left, bottom, right, top = box
    return left <= x <= right and bottom <= y <= top
