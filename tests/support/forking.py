"""Processes forked from one that has loaded Stoa: the same code, without two seconds of CPU for imports.

Each test worker has one multiprocessing fork server for all of them. It loads everything that any of them needs; each
process would have to load a missing module itself.
"""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, Self

LOADED = (
    "tests.support.loaded",
    "tests.support.nodes",
    "tests.support.crashes.dying",
    "tests.support.crashes.dying_graph",
    "tests.support.crashes.dying_memory",
    "tests.support.crashes.dying_sync",
    "tests.support.crashes.trigger_storm",
)


def context() -> Any:
    """Its `Process` is forked from that server."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(list(LOADED))
    return forking


class Command:
    """A command of `stoa` in a process of its own, as `asyncio.subprocess.Process` would have it."""

    def __init__(self, process: Any, stdout: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self._process = process
        self._transport = transport
        self.stdout = stdout
        self.pid: int = process.pid

    @classmethod
    async def start(cls, arguments: Sequence[str], *, environment: dict[str, str], stderr: int | IO[bytes]) -> Self:
        """What it prints comes by `stdout`."""
        out, out_of_child = os.pipe()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        err = nowhere if stderr == subprocess.DEVNULL else stderr if isinstance(stderr, int) else stderr.fileno()
        try:
            process = context().Process(target=_Child(arguments, environment, str(Path.cwd()), out_of_child, err))
            await asyncio.to_thread(process.start)
        finally:
            os.close(out_of_child)
            os.close(nowhere)
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
        )
        return cls(process, reader, transport)

    @property
    def returncode(self) -> int | None:
        """The negative number of the signal, where one ended it."""
        code: int | None = self._process.exitcode
        return code

    def send_signal(self, sign: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        if self.returncode is None:
            loop.add_reader(self._process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._transport.close()
        code: int = self._process.exitcode
        return code


class _Child:
    """The body of the process. Its descriptors are sent when it is started."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], home: str, out: int, err: int) -> None:
        self._arguments = list(arguments)
        self._environment = environment
        self._home = home
        self._out, self._err = out, err

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_out": DupFd(self._out), "_err": DupFd(self._err)}

    def __call__(self) -> None:
        from stoa.cli.main import main  # noqa: PLC0415 — loaded already, in the server that this is forked from

        for sent, number in ((self._out, 1), (self._err, 2)):
            descriptor = sent.detach()  # type: ignore[attr-defined] # what DupFd becomes here
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 — to the end of the process
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(self._environment)
        os.chdir(self._home)
        sys.argv = ["stoa", *self._arguments]
        main()
