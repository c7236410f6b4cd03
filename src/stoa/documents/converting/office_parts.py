"""What the library leaves out of an Office package: notes of slides, headers and footers, notes and comments.

Runs in the converting process only.
"""

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Final
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from stoa.documents.converting import archives

PART_BYTES_MAX: Final = 32 * 2**20
_PARTS: Final = {
    "docx": (
        (re.compile(r"word/header\d*\.xml"), "Header: "),
        (re.compile(r"word/footer\d*\.xml"), "Footer: "),
        (re.compile(r"word/footnotes\d*\.xml"), "Footnote: "),
        (re.compile(r"word/endnotes\d*\.xml"), "Endnote: "),
        (re.compile(r"word/comments\d*\.xml"), "Comment: "),
    ),
    "xlsx": ((re.compile(r"xl/(?:comments/)?comments?\d*\.xml"), "Comment: "),),
}
_SLIDE_NUMBER: Final = re.compile(r"ppt/slides/slide(\d{1,6})\.xml")
_NOTES_TARGET: Final = re.compile(rb"""Target=["'](?:\.\./)?(?:/ppt/)?(notesSlides/[\w.-]+\.xml)["']""")


def omitted(data: bytes, kind: str, read: str) -> list[str]:
    """One sentence or more for each paragraph of these parts that the text `read` does not hold already."""
    found: dict[str, None] = {}
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for pattern, label in _PARTS.get(kind, ()):
            for name in sorted(filter(pattern.fullmatch, archive.namelist())):
                for text in _paragraphs(archive, name):
                    if text not in read:
                        found[f"{label}{text}"] = None
    return list(found)


def speaker_notes(data: bytes) -> dict[int, str]:
    """The notes of each slide, by the number in the slide's name."""
    notes: dict[int, str] = {}
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = set(archive.namelist())
        for name in names:
            slide = _SLIDE_NUMBER.fullmatch(name)
            relations = f"ppt/slides/_rels/{name.rpartition('/')[2]}.rels"
            target = _NOTES_TARGET.search(_part(archive, relations)) if slide and relations in names else None
            if slide and target:
                paragraphs = [text for text in _paragraphs(archive, f"ppt/{target[1].decode()}") if not text.isdigit()]
                if paragraphs:
                    notes[int(slide[1])] = "\n\n".join(["Speaker notes:", *paragraphs])
    return notes


def _part(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        entry = archive.getinfo(name)
        return archive.read(entry) if entry.file_size <= PART_BYTES_MAX else b""
    except (KeyError, *archives.BROKEN):
        return b""


def _paragraphs(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    try:
        root = ElementTree.fromstring(_part(archive, name))
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        return
    for one in root.iter():
        if _local(one) in ("p", "comment") and not any(
            _local(inner) == "p" for inner in one.iter() if inner is not one
        ):
            text = "".join(inner.text or "" for inner in one.iter() if _local(inner) == "t")
            if text := " ".join(text.split()):
                yield text


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
