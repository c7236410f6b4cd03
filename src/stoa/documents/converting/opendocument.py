"""OpenDocument texts, spreadsheets and presentations to Markdown. Runs in the converting process only."""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Final
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from stoa.documents.converting import archives
from stoa.documents.converting.page import Page
from stoa.documents.converting.tables import COLUMNS_MAX, ROWS_MAX, markdown_table
from stoa.documents.types import ConversionError

_UNREAD: Final = frozenset({"tracked-changes", "sequence-decls", "forms", "note-citation"})
_FLOATING: Final = frozenset(
    {"frame", "custom-shape", "text-box", "rect", "ellipse", "line", "connector", "g", "table"}
)
"""Anchored in a paragraph, and read after it."""
_IN_PLACE: Final = frozenset({"title", "desc"})
"""The alternative texts of an image or a drawing."""
_MARGINS: Final = frozenset({"header", "footer"})
_VALUES: Final = ("string-value", "date-value", "time-value", "boolean-value", "value")
_DIGITS_MAX: Final = 10
_REPEATED_MAX: Final = 1_000
"""The limit of repeated rows and cells: styled empty ones may be repeated to the end of the sheet."""


def opendocument_pages(data: bytes, name: str, kind: str, pages_max: int) -> tuple[int | None, list[Page], list[str]]:
    """Raises ConversionError."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            content = ElementTree.fromstring(archive.read("content.xml"))
            margins = list(_margins(archive)) if kind == "odt" else []
    except (KeyError, *archives.BROKEN, ElementTree.ParseError, DefusedXmlException, RecursionError) as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as {kind.upper()}.") from error
    _name_locally(content)
    body = content.find("body")
    root = content if body is None else next(iter(body), body)
    try:
        if kind == "odp":
            slides = root.findall("page")
            if len(slides) > pages_max:
                message = f"{name} has {len(slides):,} slides; at most {pages_max:,} are read. Split it."
                raise ConversionError("too_many_pages", message)
            made = [Page("\n\n".join(_slide(one)), number) for number, one in enumerate(slides, 1)]
            return len(slides), [page for page in made if page.markdown.strip()], []
        return None, [Page("\n\n".join([*_blocks(root), *margins]), None, sheets=kind == "ods")], []
    except RecursionError as error:
        raise ConversionError("corrupt_file", f"{name} is nested too deeply.") from error


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _name_locally(root: Element) -> None:
    """Removes namespaces: local names are unambiguous among what is read, and namespaces differ by version."""
    for one in root.iter():
        one.tag = _local(one.tag)
        one.attrib = {_local(key): value for key, value in one.attrib.items()}


def _margins(archive: zipfile.ZipFile) -> Iterator[str]:
    """Headers and footers of all page styles, each text once. A file may lack the styles."""
    try:
        styles = ElementTree.fromstring(archive.read("styles.xml"))
    except (KeyError, ElementTree.ParseError, DefusedXmlException):
        return
    _name_locally(styles)
    seen: set[str] = set()
    for page in styles.iter("master-page"):
        for part in page:
            kind = part.tag.partition("-")[0]
            if kind not in _MARGINS or part.get("display") == "false":
                continue
            for block in _blocks(part):
                text = block if block.startswith("|") else f"{kind.capitalize()}: {' '.join(block.lstrip('#').split())}"
                if text not in seen:
                    seen.add(text)
                    yield text


def _number(element: Element, name: str, default: int = 1) -> int:
    """An attribute with a count; the default where it is not a positive number."""
    value = element.get(name) or ""
    return max(int(value), 1) if value.isascii() and value.isdigit() and len(value) < _DIGITS_MAX else default


def _slide(slide: Element) -> Iterator[str]:
    for one in slide:
        if one.tag == "notes":
            if notes := [block for block in _blocks(one) if block.strip()]:
                yield "Speaker notes:"
                yield from notes
        else:
            yield from _blocks(one)


def _blocks(element: Element) -> Iterator[str]:
    """The paragraphs, headings, list items and tables below an element, each as Markdown."""
    for one in element:
        if one.tag in _UNREAD:
            continue
        if one.tag == "h":
            if text := _words(one):
                yield f"{'#' * min(_number(one, 'outline-level'), 6)} {text}"
        elif one.tag == "p":
            if text := _words(one):
                yield text
            yield from _floating(one)
        elif one.tag == "list-item":
            inner = "\n".join(_blocks(one))
            yield f"- {inner}"
        elif one.tag == "table":
            yield from _table(one)
        elif one.tag == "annotation":
            yield _comment(one)
        elif one.tag in _IN_PLACE:
            if text := _words(one):
                yield f"![{text}]()"
        else:
            yield from _blocks(one)


def _words(element: Element) -> str:
    return " ".join("".join(_runs(element)).split())


def _runs(element: Element) -> Iterator[str]:
    """The text of a paragraph. Notes and comments are in brackets after the word that they belong to."""
    yield element.text or ""
    for one in element:
        if one.tag in ("s", "tab", "line-break"):
            yield " "
        elif one.tag == "note":
            yield f" ({' '.join(_blocks(one))})"
        elif one.tag == "annotation":
            yield f" ({_comment(one)}) "
        elif one.tag not in _UNREAD | _FLOATING:
            yield from _runs(one)
        yield one.tail or ""


def _comment(annotation: Element) -> str:
    author = " ".join((annotation.findtext("creator") or "").split())
    label = f"Comment ({author})" if author else "Comment"
    return f"{label}: {' '.join(_blocks(annotation))}"


def _floating(paragraph: Element) -> Iterator[str]:
    """Text boxes and tables anchored in a paragraph."""
    for one in paragraph:
        if one.tag in _FLOATING:
            yield from _blocks(one)
        else:
            yield from _floating(one)


def _table(table: Element) -> Iterator[str]:
    """A table; a sheet has its name as heading. Merged cells repeat their text."""
    name = table.get("name")
    rows: list[list[str]] = []
    spans: dict[tuple[int, int], str] = {}
    for row in table.iter("table-row"):
        cells = _row(row, len(rows), spans)
        times = min(_number(row, "number-rows-repeated"), _REPEATED_MAX)
        rows.extend([cells] * (times if any(cells) else 1))
        if len(rows) > ROWS_MAX:
            raise ConversionError("too_large", f"The table {name} has more than {ROWS_MAX:,} rows.")
    while rows and not any(rows[-1]):
        rows.pop()
    rows = [row for row in rows if any(row)]
    width = max((len(_trimmed(row)) for row in rows), default=0)
    if not width:
        return
    if width > COLUMNS_MAX:
        raise ConversionError("too_large", f"The table {name} has more than {COLUMNS_MAX:,} columns.")
    if name and table.find(".//table-cell[@value-type]") is not None:
        yield f"## {name}"
    yield markdown_table([row[:width] for row in rows], width)


def _trimmed(row: list[str]) -> list[str]:
    while row and not row[-1]:
        row = row[:-1]
    return row


def _row(row: Element, at: int, spans: dict[tuple[int, int], str]) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if cell.tag not in ("table-cell", "covered-table-cell"):
            continue
        text = " ".join(_blocks(cell)) or _stored(cell)
        if cell.tag == "covered-table-cell":
            text = spans.get((at, len(cells)), text)
        down, across = (_number(cell, f"number-{one}-spanned") for one in ("rows", "columns"))
        for below in range(min(down, _REPEATED_MAX)):
            for beside in range(min(across, _REPEATED_MAX)):
                if below or beside:
                    spans[at + below, len(cells) + beside] = text
        cells += [text] * min(_number(cell, "number-columns-repeated"), _REPEATED_MAX)
    return cells


def _stored(cell: Element) -> str:
    """The value of a cell whose displayed text is missing."""
    return next((value for name in _VALUES if (value := cell.get(name))), "")
