"""Office documents, web pages and mails to Markdown, through xberg.

Runs in the converting process only: the libraries are native code that meets hostile bytes.
"""

import asyncio
import io
import re
import zipfile
from dataclasses import replace
from typing import Final

import xberg

from stoa.documents.converting import office_parts, sheets
from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError

_MIME_TYPES: Final = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "epub": "application/epub+zip",
    "html": "text/html",
    "rtf": "application/rtf",
}
PAGED: Final = frozenset({"pptx"})
_SHEET_BYTES_SEARCHED_MAX: Final = 64 * 2**20
_FORMULA_ALONE: Final = re.compile(rb"(?:</f>|<f/>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")
_ESCAPED_NUMBER: Final = re.compile(r"(\d)\\([.)])")
_EMPHASIS_BEGINS: Final = re.compile(r"(?<=[^\W_])(\*{1,3}|_{1,3})([^\W_][^*_\n]{0,200})\1")
_EMPHASIS_ENDS: Final = re.compile(r"(\*{1,3}|_{1,3})([^\W_][^*_\n]{0,200})\1(?=[^\W_])")
"""Emphasis that begins or ends within a word, and would tear it: `Projekt**nummer**`."""
_BULLET: Final = re.compile(r"(?:^|(?<= ))[\x7f\uf0b7\u2022][ \t]+", re.MULTILINE)


def office_pages(data: bytes, name: str, kind: str, pages_max: int) -> tuple[int | None, list[Page], list[str]]:
    """The number of pages, the pages that hold text, and warnings. Raises ConversionError. Only slides have numbers:
    other formats have no pages of their own."""
    pages = by_library(sheets.as_shown(data) if kind == "xlsx" else data, name, kind)
    if kind not in PAGED:
        more = office_parts.omitted(data, kind, pages[0].markdown) if pages and kind in ("docx", "xlsx") else []
        if more:
            pages[-1] = replace(pages[-1], markdown="\n\n".join([pages[-1].markdown.rstrip(), *more]).lstrip())
        return None, pages, _unsaved_formulas(data, name) if kind == "xlsx" else []
    notes = office_parts.speaker_notes(data)
    pages = [
        replace(page, markdown=f"{page.markdown.rstrip()}\n\n{notes[page.number]}") if page.number in notes else page
        for page in pages
    ]
    count = max((page.number or 0 for page in pages), default=0)
    if count > pages_max:
        raise ConversionError(
            "too_many_pages", f"{name} has {count:,} slides; at most {pages_max:,} are read. Split it."
        )
    return count, pages, []


def _unsaved_formulas(data: bytes, name: str) -> list[str]:
    """A sheet stores each formula with its last result, and the result is what is read. Programs that write sheets
    without computing them store none; then the cell is blank, and a warning says so."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheets = [one for one in archive.infolist() if one.filename.startswith("xl/worksheets/")]
        if sum(one.file_size for one in sheets) > _SHEET_BYTES_SEARCHED_MAX:
            return []
        count = sum(len(_FORMULA_ALONE.findall(archive.read(one))) for one in sheets)
    return (
        [f"{name}: {count} formulas have no stored result and are blank; save it once in a spreadsheet program."]
        if count
        else []
    )


def by_library(data: bytes, name: str, kind: str) -> list[Page]:
    # No OCR, no cache on disk, no models, no archives inside archives, no network: bytes in, text out.
    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        output_format="markdown",
        escape_markdown=False,
        max_archive_depth=0,
        pages=xberg.PageConfig(extract_pages=kind in PAGED),
        html_options=xberg.ConversionOptions(extract_metadata=False),
        concurrency=xberg.ConcurrencyConfig(max_threads=2),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=_MIME_TYPES[kind], filename=f"document.{kind}")
    try:
        result = asyncio.run(_extract(source, config))
    except (xberg.XbergError, RuntimeError, ValueError) as error:
        raise _refused(name, kind, str(error)) from error
    if not result.results:
        reason = "; ".join(str(getattr(error, "message", error)) for error in result.errors)
        raise _refused(name, kind, reason)
    document = result.results[0]
    if kind in PAGED and document.pages:
        return [Page(_tidy(page.content), page.page_number) for page in document.pages]
    return [Page(_tidy(document.content), None, sheets=kind == "xlsx")]


def _tidy(markdown: str) -> str:
    """Escapes that only a renderer needs ("1\\. Limits") spoil what is searched and quoted; so do the control
    characters that stand for bullets in many PDFs."""
    whole = _EMPHASIS_ENDS.sub(r"\2", _EMPHASIS_BEGINS.sub(r"\2", markdown))
    return _BULLET.sub("- ", _ESCAPED_NUMBER.sub(r"\1\2", whole))


async def _extract(source: xberg.ExtractInput, config: xberg.ExtractionConfig) -> xberg.ExtractionResult:
    return await xberg.extract(source, config)


def _refused(name: str, kind: str, reason: str) -> ConversionError:
    if re.search(r"password|encrypt", reason, re.IGNORECASE):
        return ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")
    if re.search(r"security|limit|bomb|too (large|many)", reason, re.IGNORECASE):
        return ConversionError("too_large", f"{name} unpacks to more than is read.")
    return ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as {kind.upper()}.")
