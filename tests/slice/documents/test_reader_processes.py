"""The processes that read files: killed, stuck, orphaned or unfit, each costs no file and leaves nothing behind."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from stoa.documents.converting import Converter
from stoa.documents.converting.forking import Zygotes
from stoa.documents.converting.reading import Job
from stoa.documents.converting.zygote import Unfit, Zygote
from stoa.documents.types import ConversionError, Converted
from tests.support.knowledge import HANDBOOK
from tests.support.office_files import word_file
from tests.support.readers import LINUX, WAYS, read, text_of


@pytest.fixture
async def converter(forks: bool) -> AsyncIterator[Converter]:
    """One of its own: these tests look at its processes, and kill them."""
    converter = Converter(seconds_max=20, forks=forks)
    yield converter
    await converter.close()


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
    """What each open descriptor is, in order of their numbers."""
    found: list[str] = []
    for one in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda one: int(one.name)):
        with contextlib.suppress(FileNotFoundError):  # Closed since it was listed.
            found.append(str(one.readlink()))
    return found


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


@LINUX
async def test_small_texts_share_a_reader_and_a_bad_one_costs_itself_alone(tmp_path: Path) -> None:
    contents = [(f"{number}.md", f"Number {number}.".encode()) for number in range(12)]
    contents[3] = ("empty.md", b"")
    contents[5] = ("picture.txt", b"\x89PNG\r\n\x1a\n" + bytes(64))
    contents[7] = ("pdf.md", HANDBOOK.read_bytes())
    found = await read_together(tmp_path, contents)
    for number, code in ((3, "empty_file"), (5, "wrong_format")):
        error = found.pop(number)
        assert isinstance(error, ConversionError)
        assert error.code == code
    handbook = found.pop(7)
    assert isinstance(handbook, Converted)
    assert handbook.pages
    assert {number: text_of(one) for number, one in found.items() if isinstance(one, Converted)} == {
        number: f"Number {number}." for number in range(12) if number not in (3, 5, 7)
    }


@LINUX
async def test_small_texts_survive_the_death_of_the_reader_they_share(tmp_path: Path) -> None:
    contents = [(f"{number}.md", f"Number {number}.".encode()) for number in range(12)]
    contents[4] = ("slow.csv", b"some,words,in,a,row\n" * 100_000)  # long enough for the process to be met
    found = await read_together(tmp_path, contents, kill=True)
    slow = found.pop(4)
    assert isinstance(slow, Converted)
    assert slow.passages
    assert {number: text_of(one) for number, one in found.items() if isinstance(one, Converted)} == {
        number: f"Number {number}." for number in range(12) if number != 4
    }


async def read_together(
    folder: Path, contents: list[tuple[str, bytes]], *, kill: bool = False
) -> dict[int, Converted | BaseException]:
    """Reads files of one base at once. `kill` kills the first process that reads."""
    for number, (_, content) in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    converter = Converter()
    try:
        tasks = [
            asyncio.create_task(converter.convert(folder / str(number), name=name, together="base"))
            for number, (name, _) in enumerate(contents)
        ]
        if kill:
            os.kill(await stopped_reader(os.getpid()), signal.SIGKILL)
        return dict(enumerate(await asyncio.gather(*tasks, return_exceptions=True)))
    finally:
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
    async with asyncio.timeout(10):  # The file of a library stays open while it is being loaded.
        while not loaded(b"_imaging") or any(".so" in one for one in descriptors(zygote)):
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
async def test_no_file_is_lost_when_the_zygote_dies_or_hangs(
    tmp_path: Path, befalls: signal.Signals, moment: str
) -> None:
    converter = Converter()
    path = tmp_path / "notes.csv"
    path.write_bytes(b"some,words,in,a,row\n" * 20_000)
    await converter.convert(path, name="notes.csv")
    [zygote] = zygotes(os.getpid())
    converter._zygotes._zygote.patience_seconds = 1.0  # Not earlier: on a crowded machine, its start takes longer.
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
async def test_no_file_is_lost_when_the_zygote_cannot_be_used(tmp_path: Path) -> None:
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
