"""EPUB books: the chapters in reading order, each read as a web page. Runs in the converting process only."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from posixpath import normpath
from typing import Final
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from stoa.documents.converting import archives, web
from stoa.documents.converting.packages import PART_BYTES_MAX, UNREADABLE, local, parsed
from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError

CONTAINER: Final = "META-INF/container.xml"
NAMED: Final = 5
FALLBACKS_MAX: Final = 5
"""The limit of consecutive fallbacks."""
_PAGES: Final = (
    "application/xhtml+xml",
    "text/html",
    "image/svg+xml",
    "application/x-dtbook+xml",
    "text/x-oeb1-document",
)


def epub_pages(data: bytes, name: str) -> tuple[list[Page], list[str]]:
    """Raises ConversionError."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return _pages(archive, name)
    except (*UNREADABLE, *archives.BROKEN) as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as EPUB.") from error


def _pages(archive: zipfile.ZipFile, name: str) -> tuple[list[Page], list[str]]:
    root = _tree(archive, CONTAINER).find(".//rootfile")
    package = root.get("full-path", "") if root is not None else ""
    book = _tree(archive, package)
    folder = package.rpartition("/")[0]
    chapters: dict[str, Mapping[str, str]] = {one.get("id", ""): one.attrib for one in book.iter("item")}
    blocks: list[str] = []
    missing: list[str] = []
    for reference in book.iter("itemref"):
        chapter = _readable(chapters, reference.get("idref", ""))
        part = normpath(f"{folder}/{unquote(chapter.get('href', ''))}").lstrip("/")
        try:
            found, _ = web.html_pages(_part(archive, part), part, chapter.get("media-type"))
        except (KeyError, ConversionError, *archives.BROKEN):
            missing.append(part)
            continue
        blocks += [page.markdown.strip() for page in found]
    markdown = "\n\n".join(block for block in blocks if block)
    named = ", ".join(missing[:NAMED]) + (" …" if missing[NAMED:] else "")
    warnings = [f"{name}: {len(missing)} chapters cannot be read: {named}."] if missing else []
    return [Page(markdown, None)] if markdown else [], warnings


def _readable(chapters: Mapping[str, Mapping[str, str]], name: str) -> Mapping[str, str]:
    """A chapter, or the publisher's fallback for one that is not a text page, such as an image."""
    chapter = chapters.get(name, {})
    for _ in range(FALLBACKS_MAX):
        if chapter.get("media-type", _PAGES[0]) in _PAGES or chapter.get("fallback") not in chapters:
            break
        chapter = chapters[chapter["fallback"]]
    return chapter


def _tree(archive: zipfile.ZipFile, part: str) -> Element:
    return local(parsed(_part(archive, part)))


def _part(archive: zipfile.ZipFile, part: str) -> bytes:
    entry = archive.getinfo(part)
    return archive.read(entry) if entry.file_size <= PART_BYTES_MAX else b""
