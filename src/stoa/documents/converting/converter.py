"""Converts untrusted documents: every file in a process of its own that can be killed.

A PDF that loops, an archive that unpacks to a terabyte, a parser that crashes: each costs one short-lived process and
becomes a ConversionError. The server never opens the file itself.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from stoa.documents.chunking import CHARACTERS_MAX
from stoa.documents.converting import sniffing
from stoa.documents.converting.forking import Zygotes
from stoa.documents.converting.page import LIBRARIES
from stoa.documents.converting.readers import JobFields, Reader, ReaderLost, StartedReader
from stoa.documents.types import CONVERSION_CODES, ConversionError, Converted, OcrTarget, Passage, Picture

OnProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of pages done, and of all pages where that is known."""
_READ_BYTES: Final = 256 * 1024
_STDERR_BYTES_MAX: Final = 16 * 1024
_ANSWER_BYTES_EXTRA: Final = 16 * 2**20


class Converter:
    """Turns uploaded files into passages; at most `processes_max` at a time, others wait their turn.

    `seconds_max` counts from the start of the process, not while waiting for a turn. `forks`: each process is forked
    from one that has loaded the libraries, which takes a twentieth of the time of starting an interpreter. Linux only.
    """

    def __init__(
        self,
        *,
        processes_max: int = 2,
        seconds_max: float = 60.0,
        memory_bytes_max: int = 2**30,
        pages_max: int = 5_000,
        characters_max: int = 20_000_000,
        forks: bool = sys.platform == "linux",
    ) -> None:
        self._turns = asyncio.Semaphore(processes_max)
        self._seconds_max = seconds_max
        self._memory_bytes_max = memory_bytes_max
        self._pages_max = pages_max
        self._characters_max = characters_max
        self._running: set[Reader] = set()
        self._zygotes = Zygotes() if forks else None
        self._closed = False

    async def convert(
        self,
        path: Path,
        *,
        name: str,
        mime_type: str | None = None,
        chunk_characters_max: int = CHARACTERS_MAX,
        on_progress: OnProgress | None = None,
        find_ocr_targets: bool = False,
    ) -> Converted:
        """Reads one file.

        `name` is the user's name for it: it decides the format together with the bytes, and messages quote it.
        `on_progress` is called at most five times a second. With `find_ocr_targets`, pages and pictures without text
        are listed in `ocr_targets` instead of in a warning.

        Raises:
            ConversionError: the file cannot be read, or not within the limits.
        """
        job = self._job(path, name, mime_type, chunk_characters_max, find_ocr_targets=find_ocr_targets)
        converted, loaded = _answer(*await self._run(job, name, on_progress or _no_progress), name)
        if self._zygotes is not None:
            self._zygotes.load(loaded)
        return converted

    async def render(self, path: Path, number: int, *, name: str, mime_type: str | None = None) -> Picture:
        """The OCR target with this number as an image for models: a grey PNG of at most 4 million pixels, or an image
        of the file as it is. A process of its own draws it. Raises ConversionError."""
        output, errors, status = await self._run(
            self._job(path, name, mime_type, CHARACTERS_MAX, render_page=number), name, None
        )
        kind = sniffing.picture_type(output[: sniffing.HEAD_BYTES])
        if kind is None or status != 0:
            _answer(output, errors, status, name)
            raise _died(errors, status, name)
        return Picture(kind, output)

    async def _run(self, job: JobFields, name: str, on_progress: OnProgress | None) -> tuple[bytes, bytes, int]:
        """The standard output, standard error and exit status of a process that does the job. Raises
        ConversionError."""
        async with self._turns:
            self._refuse_when_closed(name)
            forked = await self._zygotes.fork(job) if self._zygotes is not None else None
            if forked is not None:
                with contextlib.suppress(ReaderLost):
                    return await self._answer_of(forked, name, on_progress)
            self._refuse_when_closed(name)
            return await self._answer_of(await StartedReader.start(job), name, on_progress)

    async def _answer_of(self, reader: Reader, name: str, on_progress: OnProgress | None) -> tuple[bytes, bytes, int]:
        """Raises ConversionError, ReaderLost."""
        self._running.add(reader)
        try:
            # The converter was closed while the process started, when `close` could not see it.
            self._refuse_when_closed(name)
            async with asyncio.timeout(self._seconds_max):
                return await _finish(reader, self._answer_bytes_max(), on_progress)
        except TimeoutError:
            message = f"{name} could not be read within {self._seconds_max:g} seconds."
            raise ConversionError("timed_out", message) from None
        finally:
            self._running.discard(reader)
            await reader.end()

    def _refuse_when_closed(self, name: str) -> None:
        if self._closed:
            raise ConversionError("converter_crashed", f"{name} was not read: the server is stopping. Try again.")

    async def close(self) -> None:
        """Kills the running processes, whose callers get `converter_crashed`, and refuses every later call."""
        self._closed = True
        for reader in tuple(self._running):
            await reader.end()
        if self._zygotes is not None:
            await self._zygotes.close()

    def _answer_bytes_max(self) -> int:
        return 4 * self._characters_max + _ANSWER_BYTES_EXTRA

    def _job(
        self,
        path: Path,
        name: str,
        mime_type: str | None,
        chunk_characters_max: int,
        *,
        find_ocr_targets: bool = False,
        render_page: int | None = None,
    ) -> JobFields:
        return {
            "path": str(path.absolute()),
            "name": name,
            "mime_type": mime_type,
            "memory_bytes_max": self._memory_bytes_max,
            "seconds_max": self._seconds_max,
            "pages_max": self._pages_max,
            "characters_max": self._characters_max,
            "chunk_characters_max": chunk_characters_max,
            "find_ocr_targets": find_ocr_targets,
            "render_page": render_page,
        }


async def _finish(reader: Reader, bytes_max: int, on_progress: OnProgress | None) -> tuple[bytes, bytes, int]:
    """At most `bytes_max` of standard output, the standard error, and the exit status."""
    async with asyncio.TaskGroup() as group:
        output = group.create_task(_gather(reader.output, bytes_max, on_progress), name="converting.output")
        errors = group.create_task(_gather(reader.errors, _STDERR_BYTES_MAX), name="converting.errors")
    return output.result(), errors.result(), await reader.status()


async def _gather(stream: asyncio.StreamReader, bytes_max: int, on_progress: OnProgress | None = None) -> bytes:
    """Reads to the end and keeps the first `bytes_max`: the process blocks while nobody reads. With `on_progress`,
    every complete line before the last is a progress report and is not kept."""
    kept = bytearray()
    while piece := await stream.read(_READ_BYTES):
        begun = len(kept)
        kept += piece[: bytes_max - len(kept)]
        while on_progress is not None and (end := kept.find(b"\n", begun)) >= 0:
            _report(on_progress, bytes(kept[:end]))
            del kept[: end + 1]
            begun = 0
    return bytes(kept)


def _report(on_progress: OnProgress, line: bytes) -> None:
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        report = orjson.loads(line)
        on_progress(report["done"], report["pages"])


def _no_progress(_done: int, _pages: int | None) -> None:
    """For callers that do not want progress."""


def _answer(output: bytes, errors: bytes, status: int, name: str) -> tuple[Converted, list[str]]:
    """The document, and the libraries that the process loaded to read it."""
    try:
        answer: dict[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _died(errors, status, name) from None
    if error := answer.get("error"):
        code = error["code"] if error["code"] in CONVERSION_CODES else "converter_crashed"
        raise ConversionError(code, error["message"])
    converted = Converted(
        passages=tuple(
            Passage(one["text"], one["page"], one["heading"], tuple(one["rows"]) if one["rows"] else None, one["sheet"])
            for one in answer["passages"]
        ),
        pages=answer["pages"],
        warnings=tuple(answer["warnings"]),
        ocr_targets=tuple(OcrTarget(**one) for one in answer["ocr_targets"]),
    )
    return converted, [one for one in LIBRARIES if one in answer["loaded"]]


def _died(errors: bytes, status: int, name: str) -> ConversionError:
    """Why a process ended without an answer, from its exit status and its standard error."""
    if status in {-signal.SIGXCPU, 128 + signal.SIGXCPU}:
        return ConversionError("timed_out", f"{name} needs more processor time than a document may use.")
    lowered = errors.lower()
    if (
        b"memory allocation" in lowered
        or b"memoryerror" in lowered
        or b"bad_alloc" in lowered
        or b"cannot allocate" in lowered
    ):
        return ConversionError("out_of_memory", f"{name} needs more memory than a document may use.")
    return ConversionError("converter_crashed", f"{name} could not be read: the reader ended with status {status}.")
