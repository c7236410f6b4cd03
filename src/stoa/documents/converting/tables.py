"""CSV and TSV as Markdown tables, from any program: finds the delimiter, lines above the table, and unclosed quotes.
Pure."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from stoa.documents.types import ConversionError

ROWS_MAX: Final = 500_000
COLUMNS_MAX: Final = 1_000
CELLS_MAX: Final = 5_000_000
"""The limit of cells: short rows are padded to the widest one, so a small file can grow to rows times columns."""
LINES_SAMPLED: Final = 200
SHARE_MIN: Final = 0.4
"""The share of lines that a delimiter must split into the same number of cells; otherwise it is a character of the
text."""
_NO_DELIMITER: Final = "\x1f"
PREAMBLE_LINES_MAX: Final = 20
REPAIRS_MAX: Final = 20
"""The limit of unclosed quotes: each is read to the end of the file before that is known."""
_DELIMITERS: Final = "\t;|,"
"""Among equally good ones the first is taken: a comma is also a decimal point, `1,25`."""
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_NAMED: Final = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)


def table(text: str, name: str, *, tabs: bool) -> tuple[str, list[str]]:
    """One Markdown table whose header is its first row; lines above it become paragraphs; and warnings. Formulas are
    text.

    Raises:
        ConversionError: `too_large` beyond 500,000 rows, 1,000 columns or 5 million cells.
    """
    csv.field_size_limit(2**31 - 1)
    lines = _LINE.findall(text)
    named = _NAMED.match(lines[0].lstrip("\ufeff")) if lines else None
    delimiter = "\t" if tabs else named[1] if named else _delimiter(lines[:LINES_SAMPLED])
    warnings: list[str] = []
    first = 1 if named else 0
    rows = list(itertools.islice(_rows(lines, first, delimiter, name, warnings), ROWS_MAX + 1))
    if len(rows) > ROWS_MAX:
        raise ConversionError("too_large", f"{name} has more than {ROWS_MAX:,} rows.")
    if not rows:
        return "", warnings
    above = _preamble(rows)
    grid = rows[above:]
    width = max(map(len, grid))
    if width > COLUMNS_MAX:
        raise ConversionError("too_large", f"{name} has {width:,} columns; at most {COLUMNS_MAX:,} are read.")
    if width * len(grid) > CELLS_MAX:
        raise ConversionError("too_large", f"{name} has more than {CELLS_MAX:,} cells.")
    intro = [" ".join(cell.strip() for cell in row if cell.strip()) for row in rows[:above]]
    return "\n\n".join([*intro, markdown_table(grid, width)]), warnings


def markdown_table(grid: Sequence[Sequence[str]], width: int) -> str:
    lines = [markdown_row(grid[0], width), "|" + " --- |" * width]
    lines.extend(markdown_row(row, width) for row in grid[1:])
    return "\n".join(lines)


def markdown_row(cells: Sequence[str], width: int) -> str:
    escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in (*cells, *[""] * (width - len(cells))))
    return "| " + " | ".join(escaped) + " |"


def titles_above(rows: Sequence[Sequence[str]]) -> int:
    """How many rows of a sheet are titles above its table: rows with a single text, across merged cells or in a sheet
    of more than two columns."""
    for number, row in enumerate(rows[: PREAMBLE_LINES_MAX + 1]):
        filled = [cell for cell in row if cell]
        if len(set(filled)) > 1 or (len(filled) == 1 and len(row) < 3) or len(row) == 1:
            return number
    return 0


def _rows(lines: list[str], at: int, delimiter: str, name: str, warnings: list[str]) -> Iterator[list[str]]:
    """All rows that are not empty. An unclosed quote is an ordinary character of its line, with a warning."""
    repairs = 0
    while at < len(lines):
        strict = repairs < REPAIRS_MAX
        reader = csv.reader(itertools.islice(lines, at, None), delimiter=delimiter, strict=strict)
        start = at
        while True:
            before = start + reader.line_num
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                behind = start + reader.line_num
                # A quotation mark within a cell: `"5" pipe",3`.
                if behind == before + 1 and not _is_open(lines[before]):
                    cells = next(csv.reader([lines[before]], delimiter=delimiter))
                else:
                    repairs += 1
                    warnings.append(f"{name}: the quote that opens in line {before + 1} never closes.")
                    quoting = csv.reader([lines[before]], delimiter=delimiter, quoting=csv.QUOTE_NONE)
                    cells = next(quoting, [])
                at = before + 1
                if any(cell.strip() for cell in cells):
                    yield cells
                break
            if any(cell.strip() for cell in cells):
                yield cells


def _is_open(line: str) -> bool:
    return line.count('"') % 2 == 1


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that splits most lines into the same number of cells, at least two."""
    best, fit = ",", 0.0
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
        several = [width for width in widths if width > 1]
        if not several:
            continue
        share = Counter(several).most_common(1)[0][1] / len(widths)
        if share > fit + 0.05:
            best, fit = delimiter, share
    return best if fit >= SHARE_MIN else _NO_DELIMITER


def _preamble(rows: Sequence[list[str]]) -> int:
    """How many rows are above the table: rows before its first full row that have fewer cells than the table."""
    sample = rows[:LINES_SAMPLED]
    width, times = Counter(len(row) for row in sample).most_common(1)[0]
    if width < 2 or times < len(sample) / 2:
        return 0
    for number, row in enumerate(rows[: PREAMBLE_LINES_MAX + 1]):
        if len(row) >= width and sum(bool(cell.strip()) for cell in row) > 1:
            return number
    return 0
