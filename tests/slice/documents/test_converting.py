"""Real files of every format, and hostile ones: each ends in passages or in a typed error, and the next file is read
all the same."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import openpyxl
import pytest
from PIL import Image

from stoa.documents.converting import Converter
from stoa.documents.converting.forking import Zygotes
from stoa.documents.converting.reading import Job
from stoa.documents.converting.zygote import Unfit, Zygote
from stoa.documents.types import ConversionError, Converted
from tests.support.knowledge import HANDBOOK
from tests.support.office_files import epub, saved, sheet, slides, word_file, zipped

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="readers are forked on Linux, and watched through /proc")
WAYS = pytest.mark.parametrize(
    "forks", [pytest.param(True, id="forked", marks=LINUX), pytest.param(False, id="started")]
)
"""A process for each file, forked from one that is ready, or started anew."""


@pytest.fixture
def forks() -> bool:
    return sys.platform == "linux"


@pytest.fixture
async def converter(forks: bool) -> AsyncIterator[Converter]:
    converter = Converter(seconds_max=20, forks=forks)
    yield converter
    await converter.close()


async def read(converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None) -> Converted:
    path = tmp_path / "blob"  # stored files have no suffix: the name alone says what the user thinks it is
    path.write_bytes(data)
    return await converter.convert(path, name=name, mime_type=mime_type)


async def refused(
    converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None
) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        await read(converter, tmp_path, name, data, mime_type)
    assert name in caught.value.message
    return caught.value


def text_of(converted: Converted) -> str:
    return "\n\n".join(passage.text for passage in converted.passages)


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
    "laughs.zip": (lambda: zipped({"a.xml": LAUGHS}), {"unsupported_format"}),
    "archive.docx": (lambda: zipped({"a.txt": "a"}), {"wrong_format"}),
    "bomb.docx": (bomb, {"too_large"}),
    "lying_bomb.docx": (lying_bomb, {"too_large", "corrupt_file", "out_of_memory"}),
    "many.xlsx": (lambda: zipped({f"x{number}": b"" for number in range(10_001)}), {"too_large"}),
    "laughs.xml": (lambda: LAUGHS, {"unsupported_format"}),
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


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def zygotes(parent: int) -> list[int]:
    return [child for child in children(parent) if b"converting.zygote" in words(child)]


async def zygote_of(parent: int) -> int:
    async with asyncio.timeout(10):
        while not (found := zygotes(parent)):
            await asyncio.sleep(0)
    return found[0]


def descriptors(pid: int) -> list[str]:
    return [str(one.readlink()) for one in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda one: int(one.name))]


def readers(parent: int) -> list[int]:
    """Past the fork and its preparations: the session is its own, and three descriptors are open, or four with the
    file."""
    forked = [child for zygote in zygotes(parent) for child in children(zygote) if len(descriptors(child)) in (3, 4)]
    return [
        child
        for child in forked + children(parent)
        if os.getsid(child) == child and (child in forked or b"converting.worker" in words(child))
    ]


async def stopped_reader(parent: int) -> int:
    """The process that reads for `parent`, held in the middle of its work, so that only a kill can end it."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for child in readers(parent):
                    os.kill(child, signal.SIGSTOP)
                    return child
            await asyncio.sleep(0)


async def ended(pid: int) -> None:
    """Waits for the end of a process that is nobody's child here, by the kernel's signal."""
    handle = os.pidfd_open(pid)
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, end.set)
    try:
        async with asyncio.timeout(10):
            await end.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def gone(pid: int) -> None:
    """Dead, and its number free."""
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.001)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "notes.csv"
    path.write_bytes(b"some,words,in,a,row\n" * 400_000)
    return path


@LINUX
@WAYS
async def test_close_and_cancellation_end_the_reader(big: Path, forks: bool) -> None:
    converter = Converter(forks=forks)
    task = asyncio.create_task(converter.convert(big, name="notes.csv"))
    reader = await stopped_reader(os.getpid())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(reader)
    task = asyncio.create_task(converter.convert(big, name="notes.csv"))
    reader = await stopped_reader(os.getpid())
    await converter.close()
    with pytest.raises(ConversionError) as caught:
        await task
    assert caught.value.code == "converter_crashed"
    await gone(reader)
    with pytest.raises(ConversionError, match="stopping"):
        await converter.convert(big, name="notes.csv")
    assert not zygotes(os.getpid())


@LINUX
@WAYS
async def test_what_kills_a_reader_becomes_its_code(converter: Converter, big: Path, tmp_path: Path) -> None:
    for number, code, words in (
        (signal.SIGSEGV, "converter_crashed", "status -11"),
        (signal.SIGXCPU, "timed_out", "processor time"),
        (signal.SIGKILL, "converter_crashed", "status -9"),
    ):
        task = asyncio.create_task(converter.convert(big, name="notes.csv"))
        reader = await stopped_reader(os.getpid())
        os.kill(reader, number)
        os.kill(reader, signal.SIGCONT)
        with pytest.raises(ConversionError, match=words) as caught:
            await task
        assert caught.value.code == code
    assert text_of(await read(converter, tmp_path, "after.txt", b"still here")) == "still here"


@LINUX
@WAYS
async def test_a_reader_that_hangs_is_killed_at_its_deadline_with_all_it_started(big: Path, forks: bool) -> None:
    converter = Converter(seconds_max=1.5, forks=forks)
    task = asyncio.create_task(converter.convert(big, name="notes.csv"))
    reader = await stopped_reader(os.getpid())
    assert os.getpgid(reader) == reader
    with pytest.raises(ConversionError) as caught:
        await task
    assert caught.value.code == "timed_out"
    await gone(reader)
    await converter.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from stoa.documents.converting import Converter
asyncio.run(Converter(forks=sys.argv[2] == "True").convert(Path(sys.argv[1]), name="notes.csv"))
"""


@LINUX
@WAYS
async def test_a_killed_parent_takes_its_processes_along(big: Path, forks: bool) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(big), str(forks))
    reader = await stopped_reader(parent.pid)
    left = [reader, *zygotes(parent.pid)]
    assert len(left) == 1 + forks
    os.kill(reader, signal.SIGCONT)
    watching = asyncio.gather(*(ended(one) for one in left))
    await asyncio.sleep(0)
    parent.kill()
    await parent.wait()
    await watching


@LINUX
async def test_a_killed_parent_takes_a_stuck_zygote_along(big: Path) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(big), "True")
    reader = await stopped_reader(parent.pid)
    zygote = await zygote_of(parent.pid)
    os.kill(zygote, signal.SIGSTOP)
    watching = asyncio.gather(ended(zygote), ended(reader))
    await asyncio.sleep(0)
    parent.kill()
    await parent.wait()
    await watching


@LINUX
async def test_readers_are_forked_from_one_process_which_learns_what_files_need(
    converter: Converter, tmp_path: Path
) -> None:
    def loaded(library: bytes) -> bool:
        return library in Path(f"/proc/{zygote}/maps").read_bytes()

    assert text_of(await read(converter, tmp_path, "notes.txt", b"plain words")) == "plain words"
    [zygote] = zygotes(os.getpid())
    assert not loaded(b"pdfium")
    await converter.convert(HANDBOOK, name="handbook.pdf")
    assert "Gadget" in text_of(await read(converter, tmp_path, "report.docx", word_file()))
    async with asyncio.timeout(10):
        while not (loaded(b"pdfium") and loaded(b"xberg")):
            await asyncio.sleep(0.01)
    assert (await converter.convert(HANDBOOK, name="handbook.pdf")).pages == 5
    assert "Gadget" in text_of(await read(converter, tmp_path, "report.docx", word_file()))
    assert (await converter.render(HANDBOOK, 1, name="handbook.pdf")).mime_type == "image/png"
    Image.new("L", (600, 800), 200).save(tmp_path / "scan.png")
    assert (await converter.convert(tmp_path / "scan.png", name="scan.png", find_ocr_targets=True)).ocr_targets
    async with asyncio.timeout(10):
        while not loaded(b"_imaging"):
            await asyncio.sleep(0.01)
    assert zygotes(os.getpid()) == [zygote]
    assert len(list(Path(f"/proc/{zygote}/task").iterdir())) == 1, "what has threads must not be forked"
    assert {one.partition(":")[0] for one in descriptors(zygote)} == {"/dev/null", "socket", "pipe"}


@LINUX
async def test_a_reader_holds_nothing_of_the_zygote(converter: Converter, big: Path) -> None:
    task = asyncio.create_task(converter.convert(big, name="notes.csv"))
    reader = await stopped_reader(os.getpid())
    held = descriptors(reader)
    assert held[0] == "/dev/null"
    assert [one.partition(":")[0] for one in held[1:3]] == ["socket", "socket"]
    assert held[3:] in ([], [str(big)])
    assert Path(f"/proc/{reader}/environ").read_bytes().split(b"\0")[0].startswith(b"LC_ALL=")
    os.kill(reader, signal.SIGKILL)
    with pytest.raises(ConversionError):
        await task


@LINUX
@pytest.mark.parametrize("befalls", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("moment", ["idle", "reading"])
async def test_a_zygote_that_dies_or_sticks_costs_no_file(tmp_path: Path, befalls: signal.Signals, moment: str) -> None:
    converter = Converter()
    converter._zygotes = Zygotes(patience_seconds=0.3)
    path = tmp_path / "notes.csv"
    path.write_bytes(b"some,words,in,a,row\n" * 20_000)
    await converter.convert(path, name="notes.csv")
    [zygote] = zygotes(os.getpid())
    if moment == "idle":
        os.kill(zygote, befalls)
        task = asyncio.create_task(converter.convert(path, name="notes.csv"))
    else:
        task = asyncio.create_task(converter.convert(path, name="notes.csv"))
        reader = await stopped_reader(os.getpid())
        os.kill(zygote, befalls)
        os.kill(reader, signal.SIGCONT)
    assert (await task).passages
    await gone(zygote)
    assert (await converter.convert(path, name="notes.csv")).passages, "while it rests, files are read as well"
    assert not zygotes(os.getpid())
    await converter.close()


@LINUX
async def test_a_zygote_ends_when_it_is_idle_and_the_next_file_starts_another(tmp_path: Path) -> None:
    converter = Converter()
    converter._zygotes = Zygotes(idle_seconds=0.05)
    await read(converter, tmp_path, "notes.txt", b"plain words")
    before = await zygote_of(os.getpid())
    await ended(before)
    await gone(before)
    assert text_of(await read(converter, tmp_path, "notes.txt", b"plain words")) == "plain words"
    assert zygotes(os.getpid()) != [before]
    await converter.close()


@LINUX
async def test_nothing_with_threads_is_forked() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    finish = threading.Event()
    thread = threading.Thread(target=finish.wait)
    thread.start()
    job = Job("/nowhere", "a.txt", None, os.getpid(), 2**30, 1, 1, 1, 1)
    with ours, theirs, pytest.raises(Unfit, match="thread"):
        Zygote(ours)._fork(1, job, 1, 2)
    finish.set()
    thread.join()


@LINUX
async def test_a_zygote_that_is_unfit_costs_no_file(tmp_path: Path) -> None:
    converter = Converter()
    await read(converter, tmp_path, "notes.txt", b"plain words")
    before = converter._zygotes._zygote
    before._send({"load": "nothing of ours"})  # ignored: only what is listed is loaded
    assert text_of(await read(converter, tmp_path, "notes.txt", b"plain words")) == "plain words"
    assert converter._zygotes._zygote is before
    before._handle({"unfit": "a library has started a thread"})
    assert text_of(await read(converter, tmp_path, "notes.txt", b"plain words")) == "plain words"
    assert before.over
    assert before.failed
    await converter.close()


async def test_many_files_wait_for_their_turn(tmp_path: Path) -> None:
    converter = Converter(processes_max=2)
    paths = [tmp_path / str(number) for number in range(8)]
    for number, path in enumerate(paths):
        path.write_text(f"file {number}")
    done = await asyncio.gather(*(converter.convert(path, name=f"{path.name}.txt") for path in paths))
    assert [text_of(one) for one in done] == [f"file {number}" for number in range(8)]
    await converter.close()
