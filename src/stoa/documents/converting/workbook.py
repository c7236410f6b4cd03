"""Excel workbooks to Markdown: each sheet as a table of the displayed values, with its comments and text boxes.

Sheets are streamed, because a small file can contain very many cells. Runs in the converting process only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as FastTree
from xml.etree.ElementTree import Element

from stoa.documents.converting.number_formats import BUILT_IN, GENERAL, shown, shown_text
from stoa.documents.converting.packages import DECLARED, RELATION, UNREADABLE, Package
from stoa.documents.converting.page import Page
from stoa.documents.converting.tables import CELLS_MAX, COLUMNS_MAX, ROWS_MAX, markdown_table, titles_above
from stoa.documents.types import ConversionError

REPEATED_MAX: Final = 100_000
"""The limit of cells in one sheet that merged ranges are repeated in."""
HIDDEN_NAMED: Final = 20
_CELL: Final = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_SWITCH: Final = re.compile(r'&(?:"[^"]*"|\d+|K[0-9A-F]{6}|K\d\d[+-]\d{3}|[A-Z&])', re.IGNORECASE)
_THREADED: Final = "[Threaded comment]"


@dataclass(slots=True)
class _Book:
    package: Package
    name: str
    strings: Sequence[str]
    formats: Sequence[str]
    since_1904: bool
    unsaved: int = 0
    """Formulas without a stored result."""
    cells: int = 0


@dataclass(slots=True)
class _Sheet:
    """Rows and columns count from 1."""

    cells: dict[int, dict[int, str]] = field(default_factory=dict[int, dict[int, str]])
    merged: list[str] = field(default_factory=list[str])
    hidden_rows: list[int] = field(default_factory=list[int])
    hidden_columns: list[int] = field(default_factory=list[int])
    margins: list[str] = field(default_factory=list[str])
    damaged: bool = False


def workbook_pages(data: bytes, name: str) -> tuple[list[Page], list[str]]:
    """Raises ConversionError."""
    package = Package(data, name, "xlsx")
    root = package.root()
    settings = root.find("workbookPr")
    since_1904 = settings is not None and settings.get("date1904", "0").lower() in ("1", "true")
    strings, complete = _strings(package)
    book = _Book(package, name, strings, _formats(package), since_1904)
    blocks: list[str] = []
    damaged: list[str] = []
    for one in root.iter("sheet"):
        target = package.target(package.main, one.get(RELATION))
        title = one.get("name", "")
        if target is None or target.external:
            continue
        sheet = _sheet(book, target.target) if target.kind == "worksheet" else _Sheet()
        if sheet.damaged:
            damaged.append(title)
        found = list(_written(book, sheet, target.target))
        if found:
            hidden = " (hidden)" if one.get("state", "visible") != "visible" else ""
            blocks += [f"## {title}{hidden}", *found]
    warnings = [f"{name}: the sheet {title} is damaged; it was read up to there." for title in damaged]
    if not complete:
        warnings.append(f"{name}: its list of texts is damaged; cells that refer to the lost part of it are blank.")
    if book.unsaved:
        blank = f"{book.unsaved} formulas have no stored result and are blank"
        warnings.append(f"{name}: {blank}; save it once in a spreadsheet program.")
    return [Page("\n\n".join(blocks), None, sheets=True)] if blocks else [], warnings


def _strings(package: Package) -> tuple[Sequence[str], bool]:
    """The shared strings, and whether all could be read. Phonetic readings of Japanese words (`rPh`) are left out."""
    found: list[str] = []
    try:
        for part in package.related(package.main, "sharedStrings"):
            for one in _stream(package, part, ("si",)):
                found.append(_text(one))
                one.clear()
    except UNREADABLE:
        return found, False
    return found, True


def _text(element: Element) -> str:
    """The text of a string, which may be split into formatting runs."""
    runs = (one for one in element if one.tag in ("t", "r"))
    return "".join((one.text if one.tag == "t" else one.findtext("t")) or "" for one in runs)


def _stream(package: Package, part: str, tags: Sequence[str]) -> Iterator[Element]:
    """Yields each element with one of these names when it is complete, with local names. Stops at damage, and raises
    one of UNREADABLE."""
    file = package.open(part)
    if file is None:
        return
    with file:
        if DECLARED.search(file.peek(1024)[:1024]):  # type: ignore[attr-defined]
            raise ValueError("declarations have no place in an office file")
        for _, one in FastTree.iterparse(file):  # noqa: S314 - there are no declarations to expand.
            if "}" in one.tag:
                one.tag = one.tag.rpartition("}")[2]
            if one.tag in tags:
                yield one


def _formats(package: Package) -> Sequence[str]:
    """The format code of each style, by the number that cells use."""
    for part in package.related(package.main, "styles"):
        root = package.tree(part)
        if root is None:
            continue
        codes = {one.get("numFmtId", ""): one.get("formatCode", "") for one in root.iter("numFmt")}
        styles = root.find("cellXfs")
        numbers = [one.get("numFmtId", "0") for one in styles] if styles is not None else []
        return [codes.get(one) or BUILT_IN.get(int(one) if one.isdigit() else 0, GENERAL) for one in numbers]
    return ()


# --- cells ------------------------------------------------------------------------------------------------------------
def _sheet(book: _Book, part: str) -> _Sheet:
    sheet = _Sheet()
    try:
        for one in _stream(book.package, part, ("row", "mergeCell", "col", "headerFooter")):
            if one.tag == "row":
                _row(book, sheet, one)
                one.clear()
            elif one.tag == "mergeCell":
                sheet.merged.append(one.get("ref", ""))
            elif one.tag == "col" and one.get("hidden", "0").lower() in ("1", "true"):
                first, last = one.get("min", ""), one.get("max", "")
                if first.isdigit() and last.isdigit():
                    sheet.hidden_columns += range(int(first), min(int(last), int(first) + HIDDEN_NAMED) + 1)
            elif one.tag == "headerFooter":
                sheet.margins += _margins(one)
    except UNREADABLE:
        sheet.damaged = True
    return sheet


def _row(book: _Book, sheet: _Sheet, row: Element) -> None:
    number = row.get("r", "")
    at = int(number) if number.isdigit() else max(sheet.cells, default=0) + 1
    column = 0
    cells: dict[int, str] = {}
    for one in row:
        if one.tag != "c":
            continue
        named = _CELL.fullmatch(one.get("r", ""))
        column = _column(named[1]) if named else column + 1
        if text := _shown(book, one):
            cells[column] = text
    if not cells:
        return
    if row.get("hidden", "0").lower() in ("1", "true"):
        sheet.hidden_rows.append(at)
    sheet.cells.setdefault(at, {}).update(cells)
    book.cells += len(cells)
    if book.cells > CELLS_MAX or len(sheet.cells) > ROWS_MAX:
        raise ConversionError(
            "too_large", f"{book.name} has more than {ROWS_MAX:,} rows in a sheet or {CELLS_MAX:,} cells."
        )


def _shown(book: _Book, cell: Element) -> str:
    """The displayed value of a cell; for a formula, its stored result."""
    value: str | None = None
    formula = False
    for one in cell:
        if one.tag == "v":
            value = one.text
        elif one.tag == "is":
            value = _text(one)
        elif one.tag == "f":
            formula = True
    kind, style = cell.get("t", "n"), cell.get("s", "")
    if not value:
        book.unsaved += formula and kind not in ("str", "inlineStr")
        return ""
    code = book.formats[int(style)] if style.isdigit() and int(style) < len(book.formats) else GENERAL
    match kind:
        case "s":
            at = int(value) if value.isdigit() else -1
            return shown_text(book.strings[at] if 0 <= at < len(book.strings) else "", code)
        case "b":
            return "TRUE" if value.strip() in ("1", "true") else "FALSE"
        case "n":
            return shown(value.strip(), code, since_1904=book.since_1904)
        case "str" | "inlineStr":
            return shown_text(value, code)
        case _:
            return value.strip()  # dates as text, and errors such as #N/A


def _column(letters: str) -> int:
    found = 0
    for letter in letters:
        found = found * 26 + ord(letter) - 64
    return found


def _letters(column: int) -> str:
    found = ""
    while column:
        column, rest = divmod(column - 1, 26)
        found = chr(65 + rest) + found
    return found


def _repeat_merged(sheet: _Sheet) -> None:
    """Repeats the text of a merged range in each of its cells, up to the sheet's last used cell."""
    if not sheet.cells:
        return
    bottom, left = max(sheet.cells), REPEATED_MAX
    right = max(max(cells) for cells in sheet.cells.values())
    for name in sheet.merged:
        first, last = (_CELL.fullmatch(one) for one in name.partition(":")[::2])
        if first is None or last is None:
            continue
        top, start = int(first[2]), _column(first[1])
        text = sheet.cells.get(top, {}).get(start)
        if not text:
            continue
        for row in range(top, min(int(last[2]), bottom) + 1):
            for column in range(start, min(_column(last[1]), right) + 1):
                left -= 1
                if left < 0:
                    return
                if row in sheet.cells or row > top:
                    sheet.cells.setdefault(row, {}).setdefault(column, text)


def _margins(element: Element) -> Iterator[str]:
    """Headers and footers of printed pages, without codes for fonts and page numbers."""
    for one in element:
        if text := " ".join(_SWITCH.sub(" ", one.text or "").split()):
            yield f"{'Header' if one.tag.endswith('Header') else 'Footer'}: {text}"


# --- sheets to Markdown -----------------------------------------------------------------------------------------------
def _written(book: _Book, sheet: _Sheet, part: str) -> Iterator[str]:
    _repeat_merged(sheet)
    columns = sorted({column for cells in sheet.cells.values() for column in cells})
    if len(columns) > COLUMNS_MAX:
        raise ConversionError(
            "too_large", f"A sheet of {book.name} has {len(columns):,} columns; at most {COLUMNS_MAX:,} are read."
        )
    if len(columns) * len(sheet.cells) > CELLS_MAX:
        raise ConversionError("too_large", f"A sheet of {book.name} has more than {CELLS_MAX:,} cells.")
    rows = [[sheet.cells[row].get(column, "") for column in columns] for row in sorted(sheet.cells)]
    above = titles_above(rows)
    yield from ("; ".join(dict.fromkeys(cell for cell in row if cell)) for row in rows[:above])
    if rows[above:]:
        yield markdown_table(rows[above:], len(columns))
    hidden = [_letters(one) for one in sheet.hidden_columns if one in columns]
    if hidden:
        yield f"Hidden columns: {_named(hidden)}."
    if sheet.hidden_rows:
        yield f"Hidden rows: {_named(list(map(str, sheet.hidden_rows)))}."
    yield from _comments(book.package, part)
    for drawing in book.package.related(part, "drawing"):
        yield from book.package.texts(drawing)
        for kind in ("chart", "chartEx", "diagramData"):
            for chart in book.package.related(drawing, kind):
                if texts := list(book.package.texts(chart)):
                    yield "; ".join(texts)
    yield from dict.fromkeys(sheet.margins)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:HIDDEN_NAMED]) + (" …" if names[HIDDEN_NAMED:] else "")


def _comments(package: Package, part: str) -> Iterator[str]:
    """The comments, each with its cell."""
    threaded: set[str] = set()
    for comments in package.related(part, "threadedComment"):
        root = package.tree(comments)
        for one in root.iter("threadedComment") if root is not None else ():
            threaded.add(one.get("ref", ""))
            yield from _comment(one.get("ref", ""), one.findtext("text") or "")
    for comments in package.related(part, "comments"):
        root = package.tree(comments)
        for one in root.iter("comment") if root is not None else ():
            body = one.find("text")
            text = _text(body) if body is not None else ""
            if not (one.get("ref", "") in threaded and text.startswith(_THREADED)):
                yield from _comment(one.get("ref", ""), text)


def _comment(cell: str, text: str) -> Iterator[str]:
    if text := " ".join(text.split()):
        yield f"Comment: {text} ({cell})" if cell else f"Comment: {text}"
