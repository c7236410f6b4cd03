"""Calls the reader of each kind of office package. Runs in the converting process only."""

from stoa.documents.converting import epub, presentation, word, workbook
from stoa.documents.converting.page import Page


def office_pages(data: bytes, name: str, kind: str, pages_max: int) -> tuple[int | None, list[Page], list[str]]:
    """The number of pages, the pages with text, and warnings. Raises ConversionError. Only slides have numbers: the
    other formats have no fixed pages."""
    match kind:
        case "docx":
            return None, *word.word_pages(data, name)
        case "xlsx":
            return None, *workbook.workbook_pages(data, name)
        case "pptx":
            return presentation.presentation_pages(data, name, pages_max)
        case _:
            return None, *epub.epub_pages(data, name)
