"""PDF to Markdown: pdfium gives the positions of what is on a page, and `layout` finds the structure.

Runs in the converting process only.
"""

import ctypes
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from stoa.documents.converting import annotations, fast_pdfium, grids, layout, text_lines
from stoa.documents.converting.grids import Box, Rule
from stoa.documents.converting.page import Page, Report, no_report
from stoa.documents.converting.sheet import Grid, Line, Sheet, is_within
from stoa.documents.converting.text_lines import PageText, View
from stoa.documents.types import ConversionError

OBJECTS_MAX: Final = 5_000
"""A page with more objects is a drawing, not a table; its lines are ignored."""
SEGMENTS_MAX: Final = 5_000
_BOUNDS_SLACK: Final = 0.5
DOTS_PER_INCH: Final = 150
PIXELS_MAX: Final = 4_000_000
"""The limit of an image for a model: the provider scales larger ones down anyway."""
EDGE_PIXELS_MAX: Final = 8_000
_BLANK_PAGES_NAMED: Final = 10
_SCAN_SHARE: Final = 0.5
"""An image that covers this share of a page with little text is a scan; the text is a stamp or a number."""
_STAMP_CHARACTERS_MAX: Final = 60


def pdf_pages(
    data: bytes, name: str, pages_max: int, report: Report = no_report, ocr_pages: list[int] | None = None
) -> tuple[int, list[Page], list[str]]:
    """The number of pages, the pages with text, and warnings. Ruled tables become Markdown tables, headings become
    headings.

    Pages that show something and have no text are added to `ocr_pages`, where it is given, instead of a warning.

    Raises:
        ConversionError: `encrypted_file`, `corrupt_file`, `too_many_pages`.
    """
    document = _open(data, name)
    count = len(document)
    if count > pages_max:
        raise ConversionError(
            "too_many_pages", f"{name} has {count:,} pages; at most {pages_max:,} are read. Split it."
        )
    if count == 0:
        raise ConversionError("corrupt_file", f"{name} has no pages.")
    sheets: list[Sheet | None] = []
    done = 0
    for number in range(1, count + 1):
        sheets.append(sheet := _sheet(document, number))
        # The other pages are done when OCR has read them.
        done += ocr_pages is None or sheet is None or bool(sheet.lines)
        report(done, count)
    unreadable = [number for number, sheet in enumerate(sheets, 1) if sheet is None]
    pages = [
        Page(markdown, number)
        for number, markdown in enumerate(layout.markdown([sheet or Sheet(0, ()) for sheet in sheets]), 1)
        if markdown.strip()
    ]
    pages = [
        replace(page, markdown="\n\n".join([page.markdown, *noted]).strip()) if noted else page
        for page, noted in _noted(pages, sheets)
    ]
    scans = {number for number, sheet in enumerate(sheets, 1) if sheet is not None and sheet.is_scan}
    read = {page.number for page in pages} - scans
    blank = [number for number in range(1, count + 1) if number not in read and number not in unreadable]
    if ocr_pages is not None:
        ocr_pages += [number for number in blank if _shows_something(document, number)]
        blank = [number for number in blank if number not in ocr_pages]
    warnings = [f"{len(blank)} of {count} pages hold no text (scanned or empty): {_named(blank)}."] if blank else []
    if unreadable:
        warnings.append(f"{len(unreadable)} of {count} pages are damaged and were left out: {_named(unreadable)}.")
    return count, pages, warnings


def _noted(pages: Sequence[Page], sheets: Sequence[Sheet | None]) -> Iterator[tuple[Page, tuple[str, ...]]]:
    """Each page with the notes that people wrote into it, also pages without any other text."""
    by_number = {page.number: page for page in pages}
    for number, sheet in enumerate(sheets, 1):
        noted = sheet.notes if sheet is not None else ()
        if number in by_number or noted:
            yield by_number.get(number, Page("", number)), noted


def _shows_something(document: pdfium.PdfDocument, number: int) -> bool:
    page = document[number - 1]
    count = pdfium_c.FPDFPage_CountObjects(page)
    page.close()
    return count > 0


def picture(data: bytes, name: str, number: int) -> bytes:
    """A page as a grey PNG, at 150 dots per inch or as many as PIXELS_MAX allows. Raises ConversionError."""
    document = _open(data, name)
    try:
        page = document[number - 1]
        width, height = page.get_size()
        scale = min(
            DOTS_PER_INCH / 72, math.sqrt(PIXELS_MAX / max(width * height, 1)), EDGE_PIXELS_MAX / max(width, height, 1)
        )
        render: Any = page.render  # its type annotation accepts only integer scales
        bitmap = render(scale=scale, grayscale=True)
    except (pdfium.PdfiumError, IndexError) as error:
        raise ConversionError("corrupt_file", f"Page {number} of {name} cannot be drawn.") from error
    raw, stride = bytes(bitmap.buffer), bitmap.stride
    return _png(
        bitmap.width,
        bitmap.height,
        b"".join(b"\0" + raw[start : start + bitmap.width] for start in range(0, stride * bitmap.height, stride)),
    )


def _png(width: int, height: int, lines: bytes) -> bytes:
    """A PNG with eight bits of grey per pixel; each line begins with the number of its filter."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 6)),
        (b"IEND", b""),
    )
    made = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_BLANK_PAGES_NAMED])) + (" …" if numbers[_BLANK_PAGES_NAMED:] else "")


def _open(data: bytes, name: str) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            message = f"{name} is protected by a password; upload it without one."
            raise ConversionError("encrypted_file", message) from error
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be opened as a PDF.") from error


def _sheet(document: pdfium.PdfDocument, number: int) -> Sheet | None:
    """One page's lines and tables; None when the page cannot be loaded."""
    try:
        page = document[number - 1]
        text_page = page.get_textpage()
    except pdfium.PdfiumError:
        return None
    text = text_lines.read(page, text_page)
    view, lines, asides = text.view, text.lines, text.asides
    tables: list[Grid] = []
    if lines:
        for box, rows in grids.grids(_rules(page, view)):
            beside = [(line, _beside(text_page, text, line, box)) for line in lines]
            left = [parts[0] for line, parts in beside if len(parts) > 1 and parts[0].right <= box[0] + line.size]
            right = [parts[-1] for line, parts in beside if len(parts) > 1 and parts[-1].left >= box[2] - line.size]
            split = [part for _, parts in beside for part in parts]
            for wide, drawn in (grids.widened(box, rows, left, right), (box, rows)):
                cells = tuple(
                    tuple(_bounded(text_page, view.back(cell), text.turned) if cell else "" for cell in row)
                    for row in drawn
                )
                inside = [line for line in split if is_within(line, wide)]
                if inside and layout.keeps_words(cells, inside):
                    tables.append(Grid(wide, cells))
                    lines = split
                    break
    noted = tuple(annotations.notes(document, page))
    scan = not asides and _is_scan(page, lines)
    sheet = Sheet(view.height, tuple(lines), tuple(tables), noted, scan, tuple(map(tuple, asides)))
    text_page.close()
    page.close()
    return sheet


def _beside(text_page: pdfium.PdfTextPage, page: PageText, line: Line, box: Box) -> list[Line]:
    """Splits a line that extends beyond a table into its parts before, in and after it; otherwise returns the line
    itself."""
    left, bottom, right, top = box
    if not bottom <= line.baseline + line.size / 4 <= top or line.right <= left or line.left >= right:
        return [line]
    if line.left >= left - line.size / 2 and line.right <= right + line.size / 2:
        return [line]
    parts: list[Line] = []
    low, high = line.baseline - line.size * 0.4, line.baseline + line.size
    for start, end in ((line.left - 1, left), (left, right), (right, line.right + 1)):
        if end > start and (text := _bounded(text_page, page.view.back((start, low, end, high)), page.turned)):
            parts.append(replace(line, text=text, left=max(start, line.left), right=min(end, line.right), parts=()))
    return parts if " ".join(part.text for part in parts).split() == line.text.split() else [line]


def _is_scan(page: pdfium.PdfPage, lines: Sequence[Line]) -> bool:
    if sum(len(line.text) for line in lines) > _STAMP_CHARACTERS_MAX:
        return False
    width, height = page.get_size()
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    for number in range(min(pdfium_c.FPDFPage_CountObjects(page), OBJECTS_MAX)):
        item = pdfium_c.FPDFPage_GetObject(page, number)
        if pdfium_c.FPDFPageObj_GetType(item) == pdfium_c.FPDF_PAGEOBJ_IMAGE:
            pdfium_c.FPDFPageObj_GetBounds(item, left, bottom, right, top)
            covered = (right.value - left.value) * (top.value - bottom.value)
            if covered >= _SCAN_SHARE * width * height:
                return True
    return False


def _bounded(text_page: pdfium.PdfTextPage, box: Box, turned: Mapping[str, str]) -> str:
    words = text_lines.unmarked(text_lines.bounded(text_page, box)).split()
    return " ".join(turned.get(word, word) for word in words)


def _rules(page: pdfium.PdfPage, view: View) -> list[Rule]:
    """The straight lines of the page, horizontal or vertical, drawn as strokes or as thin boxes: tables consist of
    them."""
    count = pdfium_c.FPDFPage_CountObjects(page)
    if count > OBJECTS_MAX:
        return []
    rules: list[Rule] = []
    address, paths = fast_pdfium.address_of(page.raw), _Paths(view)
    for number in range(count):
        item = fast_pdfium.page_object(address, number)
        if fast_pdfium.object_type(item) == pdfium_c.FPDF_PAGEOBJ_PATH and paths.is_long(item):
            rules.extend(paths.rules(item))
        if len(rules) > SEGMENTS_MAX:
            return []
    return rules


class _Paths:
    """The paths of a page, in a view's coordinates."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._numbers, self._places = fast_pdfium.room(ctypes.c_float, 6)

    def is_long(self, item: int) -> bool:
        """Whether a path is long enough for a table's line: most paths of a drawing are not."""
        found = self._numbers
        if not fast_pdfium.object_bounds(item, *self._places[:4]):
            return True
        return max(found[2] - found[0], found[3] - found[1]) >= grids.LENGTH_MIN - _BOUNDS_SLACK

    def rules(self, item: int) -> Iterator[Rule]:
        found, view = self._numbers, self._view
        fast_pdfium.object_matrix(item, self._places[0])
        a, b, c, d, e, f = found
        to_x, to_y = self._places[:2]
        start = previous = (0.0, 0.0)
        for number in range(min(fast_pdfium.segments_count(item), SEGMENTS_MAX)):
            segment = fast_pdfium.path_segment(item, number)
            fast_pdfium.segment_point(segment, to_x, to_y)
            x, y = found[0], found[1]
            point = view.point(a * x + c * y + e, b * x + d * y + f)
            kind = fast_pdfium.segment_type(segment)
            if kind == pdfium_c.FPDF_SEGMENT_MOVETO:
                start = point
            elif kind == pdfium_c.FPDF_SEGMENT_LINETO:
                yield from grids.rule(previous, point)
            if kind != pdfium_c.FPDF_SEGMENT_MOVETO and fast_pdfium.segment_close(segment):
                yield from grids.rule(point, start)
            previous = point
