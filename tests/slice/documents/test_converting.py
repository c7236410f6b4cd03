"""Real files of every format, and hostile ones: each ends in passages or in a typed error, and the next file is read
all the same."""

import struct
from functools import cache
from pathlib import Path

import openpyxl
import pytest

from stoa.documents.converting import Converter
from stoa.documents.types import ConversionError
from tests.support.knowledge import HANDBOOK
from tests.support.office_files import epub, saved, sheet, slides, word_file, zipped
from tests.support.readers import WAYS, read, text_of


async def refused(
    converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None
) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        await read(converter, tmp_path, name, data, mime_type)
    assert name in caught.value.message
    return caught.value


READABLE = {
    "report.docx": (word_file, ("# Gadget report", "42 euros", "| Bolt | 7 |")),
    "talk.pptx": (slides, ("First slide", "Body of the second slide")),
    "prices.xlsx": (sheet, ("Prices", "| part | price |", "| bolt | 7 |")),
    "book.epub": (epub, ("Chapter", "Call me Ishmael.")),
    "page.html": (
        lambda: (
            b"<html><title>T</title><script>evil()</script><h1>Top</h1><table><tr><th>a<th>b<tr><td>1<td>2</table></html>"
        ),
        ("# Top", "| a | b |", "| 1 | 2 |"),
    ),
    "note.rtf": (lambda: b"{\\rtf1\\ansi Hello \\b rich\\b0  world.\\par}", ("Hello", "rich")),
    "mail.eml": (lambda: b"From: a@example.org\nSubject: Hello\n\nThe body of it.\n", ("Hello", "The body of it.")),
    "table.csv": (
        lambda: b'name,"price, net"\nbolt,=1+1\n"a|b",2\n',
        ("| name | price, net |", "| bolt | =1+1 |", "a\\|b"),
    ),
    "semicolons.csv": (lambda: b"name;price\nbolt;1,5\n", ("| bolt | 1,5 |",)),
    "table.tsv": (lambda: b"name\tprice\nbolt\t1\n", ("| name | price |", "| bolt | 1 |")),
    "notes.md": (lambda: b"# Title\n\nSome *text*.", ("# Title", "Some *text*.")),
    "notes.txt": (lambda: b"plain words\r\nmore", ("plain words\nmore",)),
    "data.json": (lambda: b'{"key": "value"}', ('"key": "value"',)),
    "records.jsonl": (
        lambda: b'{"id": 1, "note": "first"}\n{"id": 2, "note": "second"}\n',
        ('"note": "first"', '"note": "second"'),
    ),
    "tool.py": (
        lambda: b"# not a heading\ndef answer():\n    return 42\n",
        ("```python", "# not a heading", "return 42"),
    ),
    "app.ts": (lambda: b"export const answer: number = 42;\n", ("```typescript", "answer: number")),
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


async def test_a_pdf_keeps_page_numbers_headings_and_tables(converter: Converter) -> None:
    converted = await converter.convert(HANDBOOK, name="handbook.pdf")
    assert converted.pages == 5
    assert {passage.page for passage in converted.passages} == {1, 2, 3, 4, 5}
    [limits] = [passage for passage in converted.passages if "Size of an uploaded file" in passage.text]
    assert limits.heading == "9. Limits"
    assert "| Size of an uploaded file | 128 MiB |" in limits.text
    assert any("| 409 | conflict |" in passage.text for passage in converted.passages)


async def test_only_slides_have_numbers_among_office_files(converter: Converter, tmp_path: Path) -> None:
    talk = await read(converter, tmp_path, "talk.pptx", slides())
    assert talk.pages == 2
    assert [(passage.page, passage.heading) for passage in talk.passages] == [(1, "First slide"), (2, "Second slide")]
    report = await read(converter, tmp_path, "report.docx", word_file())
    assert report.pages is None
    assert {passage.heading for passage in report.passages} == {"Gadget report", "Prices"}


def folder() -> dict[str, str | bytes]:
    """A folder as people zip it: documents, what the desktop left behind, and two files that cannot be read."""
    return {
        "docs/report.docx": word_file(),
        "docs/manual.pdf": HANDBOOK.read_bytes(),
        "src/tool.py": b"def answer():\n    return 42\n",
        "__MACOSX/docs/._report.docx": b"\0\0",
        ".DS_Store": b"\0",
        "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "more.zip": zipped({"a.txt": "a"}),
    }


async def test_a_zip_of_documents_is_read_file_by_file(converter: Converter, tmp_path: Path) -> None:
    converted = await read(converter, tmp_path, "folder.zip", zipped(folder()), "application/zip")
    headings = {passage.heading for passage in converted.passages}
    assert {"docs/report.docx: Gadget report", "docs/report.docx: Prices", "src/tool.py"} <= headings
    [limits] = [passage for passage in converted.passages if "Size of an uploaded file" in passage.text]
    assert (limits.heading, limits.page) == ("docs/manual.pdf: 9. Limits", 4)
    assert [warning.partition(" ")[0] for warning in converted.warnings] == ["logo.png", "more.zip"]


async def test_passages_are_as_long_as_asked_for(converter: Converter, tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(
        "\n\n".join(f"Paragraph {number} says what it has to say, and no more than that." for number in range(200))
    )
    for size in (200, 1000, 4000):
        made = (await converter.convert(path, name="prose.txt", chunk_characters_max=size)).passages
        assert size // 3 < max(len(passage.text) for passage in made) <= size


async def test_a_long_document_says_how_far_it_is(converter: Converter, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    path = tmp_path / "long.pdf"
    path.write_bytes(pages_of_words(600))
    converted = await converter.convert(
        path, name="long.pdf", on_progress=lambda done, pages: heard.append((done, pages))
    )
    assert converted.pages == 600
    assert heard
    assert heard == sorted(heard)
    assert {pages for _, pages in heard} == {600}


def pages_of_words(count: int) -> bytes:
    """A PDF of text pages, by hand: big enough to take a while."""
    words = b" ".join(b"(word%d lorem ipsum dolor sit amet) Tj T*" % number for number in range(40))
    content = b"BT /F1 10 Tf 12 TL 50 780 Td " + words + b" ET"
    stream = b"<</Length %d>>stream\n%s\nendstream" % (len(content), content)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", stream]
    kids = b" ".join(b"%d 0 R" % number for number in range(5, 5 + count))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count)
    objects += [
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>>>/Contents 4 0 R>>"
    ] * count
    body = b"".join(b"%d 0 obj%sendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (len(objects) + 1)


async def test_a_formula_without_a_stored_result_is_a_warning(converter: Converter, tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["sum", "=1+1"])
    converted = await read(converter, tmp_path, "sums.xlsx", saved(workbook))
    assert "1 formulas have no stored result" in converted.warnings[0]


@pytest.mark.parametrize(
    ("data", "expected", "warned"),
    [
        ("naïve café".encode(), "naïve café", False),
        ("naïve café".encode("utf-8-sig"), "naïve café", False),
        ("naïve café".encode("utf-16"), "naïve café", False),
        ("naïve café".encode("cp1252"), "naïve café", True),
        ("naïve café".encode() + b"\xff!", "naïve café\ufffd!", True),
    ],
)
async def test_decodes_text(converter: Converter, tmp_path: Path, data: bytes, expected: str, warned: bool) -> None:
    converted = await read(converter, tmp_path, "notes.txt", data)
    assert text_of(converted) == expected
    assert bool(converted.warnings) is warned


async def test_a_lying_name_is_read_as_what_it_is_with_a_warning(converter: Converter, tmp_path: Path) -> None:
    converted = await read(converter, tmp_path, "notes.txt", HANDBOOK.read_bytes())
    assert converted.pages == 5
    assert "is PDF" in converted.warnings[0]
    converted = await read(converter, tmp_path, "talk.docx", slides())
    assert "PPTX" in converted.warnings[0]


@cache
def bomb() -> bytes:
    return zipped({"word/document.xml": b"\0" * (64 * 2**20)})


@cache
def lying_bomb() -> bytes:
    """Its table of contents says ten bytes; the data unpack to 600 MiB."""
    data = bytearray(zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": b" " * (600 * 2**20)}))
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 10)
    return bytes(data)


def locked_zip() -> bytes:
    data = bytearray(word_file())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
HOSTILE = {
    "empty.pdf": (lambda: b"", {"empty_file"}),
    "cut.pdf": (lambda: HANDBOOK.read_bytes()[:700], {"corrupt_file"}),
    "noise.pdf": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 64, {"corrupt_file"}),
    "text.pdf": (lambda: b"just some words", {"wrong_format"}),
    "image.pdf": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), {"wrong_format"}),
    "picture.png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), {"unsupported_format"}),
    "program": (lambda: b"\x7fELF" + bytes(64), {"unsupported_format"}),
    "binary.txt": (lambda: b"abc\0\1\2" * 50, {"wrong_format"}),
    "old.doc": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), {"unsupported_format"}),
    "locked.docx": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), {"encrypted_file"}),
    "locked_parts.docx": (locked_zip, {"encrypted_file"}),
    "cut.docx": (lambda: word_file()[:-400], {"corrupt_file"}),
    "hollow.docx": (lambda: zipped({"word/document.xml": "<w:doc"}), {"corrupt_file"}),
    "pictures.zip": (lambda: zipped({"a.png": b"\x89PNG\r\n\x1a\n" + bytes(64)}), {"unsupported_format"}),
    "empty.zip": (lambda: zipped({"folder/": b""}), {"unsupported_format"}),
    "crowd.zip": (lambda: zipped({f"{number}.txt": b"a" for number in range(1_001)}), {"too_large"}),
    "bomb.zip": (lambda: zipped({"a.txt": b" " * (64 * 2**20)}), {"too_large"}),
    "quine.zip": (lambda: zipped({"a.zip": zipped({"b.zip": zipped({"c.txt": b"c"})})}), {"unsupported_format"}),
    "archive.docx": (lambda: zipped({"a.txt": "a"}), {"wrong_format"}),
    "bomb.docx": (bomb, {"too_large"}),
    "lying_bomb.docx": (lying_bomb, {"too_large", "corrupt_file", "out_of_memory"}),
    "many.xlsx": (lambda: zipped({f"x{number}": b"" for number in range(10_001)}), {"too_large"}),
    "bytes.txt": (lambda: bytes(byte for byte in range(1, 256)) * 2_000, {"unknown_encoding"}),
    "huge.txt": (lambda: b"a" * (32 * 2**20 + 1), {"too_large"}),
    "wide_table.csv": (lambda: b"a," * 1_001, {"too_large"}),
}


@WAYS
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_a_typed_error_and_the_next_one_is_read(
    converter: Converter, tmp_path: Path, name: str
) -> None:
    make, codes = HOSTILE[name]
    assert (await refused(converter, tmp_path, name, make())).code in codes
    assert text_of(await read(converter, tmp_path, "after.txt", b"still here")) == "still here"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("laughs.xml", LAUGHS),
        ("deep.html", b"<div>" * 200_000 + b"text at the bottom"),
        ("deep.json", b"[" * 1_000_000 + b"]" * 1_000_000),
        ("line.txt", b"word " * 200_000),
        ("word.txt", b"x" * 1_000_000),
        ("endless_cell.csv", b'a,b\n"' + b"x" * 200_000),
        ("formulas.csv", b"=cmd|' /C calc'!A0,@SUM(1+1)*cmd|' /C calc'!A0\n" * 100),
    ],
)
async def test_a_strange_file_is_read_within_the_limits(
    converter: Converter, tmp_path: Path, name: str, data: bytes
) -> None:
    """Nothing in it is run, followed or unfolded: it is text, and cut like any other."""
    converted = await read(converter, tmp_path, name, data)
    assert converted.passages or "holds no text" in converted.warnings[0]
    assert all(len(passage.text) <= 1_000 for passage in converted.passages)


@WAYS
async def test_limits_each_have_their_code(tmp_path: Path, forks: bool) -> None:
    rows = b"some,words,in,a,row\n" * 100_000
    for limits, name, data, code in (
        ({"seconds_max": 0.02}, "slow.csv", rows, "timed_out"),
        ({"memory_bytes_max": 120 * 2**20}, "hungry.csv", rows * 4, "out_of_memory"),
        ({"pages_max": 4}, "long.pdf", HANDBOOK.read_bytes(), "too_many_pages"),
        ({"pages_max": 1}, "long.pptx", slides(), "too_many_pages"),
        ({"characters_max": 1_000}, "long.txt", b"word " * 500, "too_large"),
    ):
        converter = Converter(**limits, forks=forks)
        assert (await refused(converter, tmp_path, name, data)).code == code
        await converter.close()


async def test_a_document_without_text_is_a_warning(converter: Converter, tmp_path: Path) -> None:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"
    objects = (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page)
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj%sendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    converted = await read(converter, tmp_path, "scan.pdf", body + b"trailer<</Root 1 0 R/Size 4>>\n%%EOF")
    assert converted.pages == 1
    assert converted.passages == ()
    assert "1 of 1 pages hold no text" in converted.warnings[0]
