"""Reads documents without trusting them: every file in a process of its own that can be killed.

A PDF that loops, an archive that unpacks to a terabyte, a parser that crashes: each costs one short-lived process and becomes
a ConversionError. The server never opens the file itself.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from stoa.knowledge.chunking import CHARACTERS_MAX
from stoa.knowledge.converting import sniffing
from stoa.knowledge.types import CONVERSION_CODES, ConversionError, Converted, Passage, Picture, Sight

Heard: TypeAlias = Callable[[int, int | None], None]
_READ_BYTES: Final = 256 * 1024
_STDERR_BYTES_MAX: Final = 16 * 1024
_ANSWER_BYTES_EXTRA: Final = 16 * 2**20
_REAP_SECONDS_MAX: Final = 5.0
_ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "2",
    "TOKIO_WORKER_THREADS": "2",
    "MALLOC_ARENA_MAX": "2",  # glibc reserves 64 MiB of address space per arena, and that is what is limited
}


class Converter:
    """Turns uploaded files into passages; at most `processes_max` at a time, others wait their turn.

    `seconds_max` counts from the start of the process, not while waiting for a turn.
    """

    def __init__(
        self,
        *,
        processes_max: int = 2,
        seconds_max: float = 60.0,
        memory_bytes_max: int = 2**30,
        pages_max: int = 5_000,
        characters_max: int = 20_000_000,
    ) -> None:
        self._turns = asyncio.Semaphore(processes_max)
        self._seconds_max = seconds_max
        self._memory_bytes_max = memory_bytes_max
        self._pages_max = pages_max
        self._characters_max = characters_max
        self._running: set[asyncio.subprocess.Process] = set()
        self._closed = False

    async def convert(
        self, path: Path, *, name: str, mime_type: str | None = None, chunk_characters_max: int = CHARACTERS_MAX, heard: Heard | None = None,
        find_blank: bool = False,
    ) -> Converted:
        """Reads one file. `name` is what the user calls it: it decides the format together with the bytes, and it is what
        messages say. `heard` is told now and then how many pages are done, and of how many where that is known. `find_blank`: pages that show
        something and hold no text are given in `blank`, for somebody who can look at them.

        Raises:
            ConversionError: the file cannot be read, or not within the limits.
        """
        job = self._job(path, name, mime_type, chunk_characters_max, find_blank=find_blank)
        return _answer(*await self._run(job, name, heard or _unheard), name)

    async def render(self, path: Path, number: int, *, name: str, mime_type: str | None = None) -> Picture:
        """What `convert` gave as blank under this number, as a picture that models take, drawn in a process of its own: a grey PNG of at most
        4 million pixels, or a picture of the file as it is. Raises ConversionError."""
        output, errors, status = await self._run(self._job(path, name, mime_type, CHARACTERS_MAX, render_page=number), name, None)
        kind = sniffing.picture_type(output[: sniffing.HEAD_BYTES])
        if kind is None or status != 0:
            _answer(output, errors, status, name)
            raise _died(errors, status, name)
        return Picture(kind, output)

    async def _run(self, job: str, name: str, heard: Heard | None) -> tuple[bytes, bytes, int]:
        """What a process says of a job, its last words, its status. Raises ConversionError."""
        async with self._turns:
            self._refuse_when_closed(name)
            process = await self._start(job)
            self._running.add(process)
            try:
                self._refuse_when_closed(name)  # closed while it was being started, when `close` could not see it
                async with asyncio.timeout(self._seconds_max):
                    return await _finish(process, self._answer_bytes_max(), heard)
            except TimeoutError:
                message = f"{name} could not be read within {self._seconds_max:g} seconds."
                raise ConversionError("timed_out", message) from None
            finally:
                self._running.discard(process)
                await _kill(process)

    def _refuse_when_closed(self, name: str) -> None:
        if self._closed:
            raise ConversionError("converter_crashed", f"{name} was not read: the server is stopping. Try again.")

    async def close(self) -> None:
        """Ends what is running (their callers get `converter_crashed`) and refuses what comes after."""
        self._closed = True
        for process in tuple(self._running):
            await _kill(process)

    def _answer_bytes_max(self) -> int:
        return 4 * self._characters_max + _ANSWER_BYTES_EXTRA

    def _job(
        self, path: Path, name: str, mime_type: str | None, chunk_characters_max: int, *, find_blank: bool = False, render_page: int | None = None
    ) -> str:
        job = {
            "path": str(path.absolute()),
            "name": name,
            "mime_type": mime_type,
            "parent": os.getpid(),
            "memory_bytes_max": self._memory_bytes_max,
            "seconds_max": self._seconds_max,
            "pages_max": self._pages_max,
            "characters_max": self._characters_max,
            "chunk_characters_max": chunk_characters_max,
            "find_blank": find_blank,
            "render_page": render_page,
        }
        return orjson.dumps(job).decode()

    async def _start(self, job: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "stoa.knowledge.converting.worker",
            job,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env=_ENVIRONMENT,
        )


async def _finish(process: asyncio.subprocess.Process, bytes_max: int, heard: Heard | None) -> tuple[bytes, bytes, int]:
    """All that the process says, at most `bytes_max` of it, and its exit status. Its standard input stays open: its end is how
    the process learns that we are gone."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        output = group.create_task(_gather(process.stdout, bytes_max, heard), name="converting.output")
        errors = group.create_task(_gather(process.stderr, _STDERR_BYTES_MAX), name="converting.errors")
    return output.result(), errors.result(), await process.wait()


async def _gather(stream: asyncio.StreamReader, bytes_max: int, heard: Heard | None = None) -> bytes:
    """Reads to the end, keeps the first `bytes_max`: what is not kept is still read, so that the process can go on. With `heard`,
    whole lines before the last are words on progress, and not kept."""
    kept = bytearray()
    while piece := await stream.read(_READ_BYTES):
        begun = len(kept)
        kept += piece[: bytes_max - len(kept)]
        while heard is not None and (end := kept.find(b"\n", begun)) >= 0:
            _tell(heard, bytes(kept[:end]))
            del kept[: end + 1]
            begun = 0
    return bytes(kept)


def _tell(heard: Heard, line: bytes) -> None:
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        said = orjson.loads(line)
        heard(said["done"], said["pages"])


def _unheard(_done: int, _pages: int | None) -> None:
    """Nobody asked how far it is."""


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends the process and all it started, and waits for it, also when the caller is being cancelled."""
    if process.returncode is None:  # once it is reaped its number may belong to somebody else
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.shield(asyncio.wait_for(process.wait(), _REAP_SECONDS_MAX))


def _answer(output: bytes, errors: bytes, status: int, name: str) -> Converted:
    try:
        answer: dict[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _died(errors, status, name) from None
    if error := answer.get("error"):
        code = error["code"] if error["code"] in CONVERSION_CODES else "converter_crashed"
        raise ConversionError(code, error["message"])
    return Converted(
        passages=tuple(
            Passage(one["text"], one["page"], one["heading"], tuple(one["rows"]) if one["rows"] else None, one["sheet"]) for one in answer["passages"]
        ),
        pages=answer["pages"],
        warnings=tuple(answer["warnings"]),
        blank=tuple(Sight(**one) for one in answer["blank"]),
    )


def _died(errors: bytes, status: int, name: str) -> ConversionError:
    """Why a process ended without an answer, from its status and its last words."""
    if status in {-signal.SIGXCPU, 128 + signal.SIGXCPU}:
        return ConversionError("timed_out", f"{name} needs more processor time than a document may use.")
    lowered = errors.lower()
    if b"memory allocation" in lowered or b"memoryerror" in lowered or b"bad_alloc" in lowered or b"cannot allocate" in lowered:
        return ConversionError("out_of_memory", f"{name} needs more memory than a document may use.")
    return ConversionError("converter_crashed", f"{name} could not be read: the reader ended with status {status}.")
