"""The server's handles on processes that read one file each: their messages, their end, and how to kill them."""

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any, Final, Protocol, TypeAlias

import orjson

JobFields: TypeAlias = dict[str, Any]
"""The fields of `reading.Job` except for the parent, which is known to whoever starts the process."""
REAP_SECONDS_MAX: Final = 5.0
ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "2",
    "TOKIO_WORKER_THREADS": "2",
    "MALLOC_ARENA_MAX": "2",  # glibc reserves 64 MiB of address space per arena, and that is what is limited
}


class ReaderLost(Exception):
    """The process that forks readers failed, and this reader with it. The file is not at fault; a new process
    reads it."""


class Reader(Protocol):
    """A process with a session of its own, so that it can be killed with all it started."""

    @property
    def output(self) -> asyncio.StreamReader: ...
    @property
    def errors(self) -> asyncio.StreamReader: ...

    async def status(self) -> int:
        """Waits for its end; the number of a signal is negative. Raises ReaderLost."""
        ...

    async def end(self) -> None:
        """Kills it and waits for its end, also when the caller is being cancelled. May be called repeatedly."""
        ...


class StartedReader:
    """A new interpreter for one file. Its standard input stays open: end of file tells it that the server has died."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.output = process.stdout
        self.errors = process.stderr

    @classmethod
    async def start(cls, job: JobFields) -> "StartedReader":
        pipe = asyncio.subprocess.PIPE
        argument = orjson.dumps({**job, "parent": os.getpid()}).decode()
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "stoa.documents.converting.worker", argument),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
                cwd="/",
                env=ENVIRONMENT,
            )
        )

    async def status(self) -> int:
        return await self._process.wait()

    async def end(self) -> None:
        if self._process.returncode is None:  # A reaped process's number may belong to another process.
            kill_group(self._process.pid)
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.shield(asyncio.wait_for(self._process.wait(), REAP_SECONDS_MAX))


def kill_group(pid: int) -> None:
    """Kills a process that has not been reaped and all that it started. Does nothing until the process has a session of
    its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
        os.killpg(pid, signal.SIGKILL)
