"""Real files of every format, and hostile ones: each ends in passages or in a typed error, and the next file is read all the same."""

import asyncio
import io
import os
import signal
import struct
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest

from stoa.knowledge.converting import Converter
from stoa.knowledge.types import ConversionError, Converted

HANDBOOK = Path(__file__).parents[3] / "src" / "stoa" / "cli" / "assets" / "stoa-handbook.pdf"


@pytest.fixture
async def converter() -> AsyncIterator[Converter]:
    converter = Converter(seconds_max=20)
    yield converter
    await converter.close()


async def read(converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None) -> Converted:
    path = tmp_path / "blob"  # stored files have no suffix: the name alone says what the user thinks it is
    path.write_bytes(data)
    return await converter.convert(path, name=name, mime_type=mime_type)


async def refused(converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        await read(converter, tmp_path, name, data, mime_type)
    assert name in caught.value.message
    return caught.value


def text_of(converted: Converted) -> str:
    return "\n\n".join(passage.text for passage in converted.passages)


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("Gadget report", 1)
    document.add_paragraph("The gadget costs 42 euros.")
    document.add_heading("Prices", 2)
    table = document.add_table(2, 2)
    for row, cells in enumerate((("Part", "Price"), ("Bolt", "7"))):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    return saved(document)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for title in ("First slide", "Second slide"):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = f"Body of the {title.lower()}"
    return saved(presentation)


def sheet() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active.title = "Prices"
    workbook.active.append(["part", "price"])
    workbook.active.append(["bolt", 7])
    return saved(workbook)


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def epub() -> bytes:
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "b.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/><manifest><item id="a" href="a.xhtml" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
        "a.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Chapter</h1><p>Call me Ishmael.</p></body></html>',
    }
    return zipped(files)


def zipped(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


READABLE = {
    "report.docx": (word_file, ("# Gadget report", "42 euros", "| Bolt | 7 |")),
    "talk.pptx": (slides, ("First slide", "Body of the second slide")),
    "prices.xlsx": (sheet, ("Prices", "| part | price |", "| bolt | 7 |")),
    "book.epub": (epub, ("Chapter", "Call me Ishmael.")),
    "page.html": (
        lambda: b"<html><title>T</title><script>evil()</script><h1>Top</h1><table><tr><th>a<th>b<tr><td>1<td>2</table></html>",
        ("# Top", "| a | b |", "| 1 | 2 |"),
    ),
    "note.rtf": (lambda: b"{\\rtf1\\ansi Hello \\b rich\\b0  world.\\par}", ("Hello", "rich")),
    "mail.eml": (lambda: b"From: a@example.org\nSubject: Hello\n\nThe body of it.\n", ("Hello", "The body of it.")),
    "table.csv": (lambda: b'name,"price, net"\nbolt,=1+1\n"a|b",2\n', ("| name | price, net |", "| bolt | =1+1 |", "a\\|b")),
    "semicolons.csv": (lambda: b"name;price\nbolt;1,5\n", ("| bolt | 1,5 |",)),
    "table.tsv": (lambda: b"name\tprice\nbolt\t1\n", ("| name | price |", "| bolt | 1 |")),
    "notes.md": (lambda: b"# Title\n\nSome *text*.", ("# Title", "Some *text*.")),
    "notes.txt": (lambda: b"plain words\r\nmore", ("plain words\nmore",)),
    "data.json": (lambda: b'{"key": "value"}', ('"key": "value"',)),
    "data.xml": (lambda: b"<root><item>seven</item></root>", ("<item>seven</item>",)),
}


@pytest.mark.parametrize("name", READABLE)
async def test_reads_a_real_file_of_each_format(converter: Converter, tmp_path: Path, name: str) -> None:
    make, expected = READABLE[name]
    converted = await read(converter, tmp_path, name, make())
    text = text_of(converted)
    for piece in expected:
        assert piece in text
    assert "evil" not in text
    assert converted.warnings == ()
