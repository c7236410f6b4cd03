"""The server's side of the zygote: readers are forked from a process with the libraries loaded (Linux;
docs/decisions/0021).

A new interpreter costs some 40 ms of processor time for each file, a fork 2. The zygote is started by the first file,
ends after a minute without files, and is replaced when it fails. A file that it cannot serve is read by a new
interpreter instead.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from typing import Any, Final

import orjson
import structlog

from stoa.documents.converting.readers import ENVIRONMENT, REAP_SECONDS_MAX, JobFields, ReaderLost, kill_group

IDLE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 10.0
"""How long the zygote may take to report a fork or an end; then it counts as stuck and is killed. A fork takes 2 ms,
100 with the zygote's start."""
REST_SECONDS: Final = 10.0
"""After a failure no zygote is started for this time; new interpreters read the files."""
PACKET_BYTES_MAX: Final = 60_000
_log = structlog.get_logger("stoa.documents.converting")


class ForkedReader:
    """A reader. The zygote keeps it as a zombie until it is reaped here, so that its process id is not reused
    before."""

    def __init__(self, zygote: "Zygote", number: int) -> None:
        self._zygote = zygote
        self._number = number
        self._patience_seconds = zygote.patience_seconds
        self.output = self.errors = asyncio.StreamReader()
        self._ends: list[asyncio.StreamWriter] = []
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int | None] = loop.create_future()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self._unwanted = False

    async def listen(self, output: socket.socket, errors: socket.socket) -> None:
        """Sockets instead of pipes: uvloop closes a pipe's descriptor twice, and the second time it may belong to
        another thread."""
        try:
            self.output, end = await asyncio.open_connection(sock=output)
        except BaseException:
            errors.close()
            raise
        self._ends.append(end)
        self.errors, end = await asyncio.open_connection(sock=errors)
        self._ends.append(end)

    def on_start(self, pid: int) -> None:
        if not self.started.done():
            self.started.set_result(pid)
        if self._unwanted:
            self.kill()

    def on_end(self, status: int | None) -> None:
        """`status` None: the zygote ended, and this reader with it."""
        for future, value in ((self.started, None), (self.ended, status)):
            if not future.done():
                future.set_result(value)

    def kill(self) -> None:
        self._unwanted = True
        pid = self.started.result() if self.started.done() else None
        if pid is not None and not self.ended.done():
            kill_group(pid)

    async def status(self) -> int:
        """Both of its streams have ended, so it is about to exit."""
        await asyncio.wait([self.ended], timeout=self._patience_seconds)
        if not self.ended.done():
            await self.end()
        status = self.ended.result()
        if status is None:
            raise ReaderLost
        return status

    async def end(self) -> None:
        self.kill()
        for end in self._ends:
            end.close()
        self.ended.add_done_callback(lambda _: self._zygote.let_go(self._number))
        await asyncio.wait([self.ended], timeout=self._patience_seconds)
        if not self.ended.done():
            self._zygote.fail("does not say that a reader ended")


class Zygote:
    """One zygote process. `over` when it accepts no more requests."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, idle_seconds: float, patience_seconds: float
    ) -> None:
        self.patience_seconds = patience_seconds
        self._idle_seconds = idle_seconds
        self._process = process
        self._control = control
        self._numbers = itertools.count(1)
        self._readers: dict[int, ForkedReader] = {}
        self._loaded: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None
        self._reaping: asyncio.Task[None] | None = None
        self.over = self.failed = False
        self._loop.add_reader(control, self._receive)

    @classmethod
    async def start(cls, idle_seconds: float, patience_seconds: float) -> "Zygote":
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        nothing = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "stoa.documents.converting.zygote", str(os.getpid())),
                stdin=theirs.fileno(),
                stdout=nothing,
                stderr=nothing,
                start_new_session=True,
                cwd="/",
                env=ENVIRONMENT,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, idle_seconds, patience_seconds)

    async def fork(self, job: JobFields) -> ForkedReader:
        """Raises ReaderLost."""
        number = next(self._numbers)
        packet = orjson.dumps({"number": number, "job": {**job, "parent": self._process.pid}})
        if self._idle is not None:
            self._idle.cancel()
        reader = self._readers[number] = ForkedReader(self, number)
        try:
            await self._send_job(reader, packet)
            await asyncio.wait([reader.started], timeout=self.patience_seconds)
            if not reader.started.done():
                self.fail("does not answer")
            if reader.started.result() is None:
                raise ReaderLost
        except BaseException:
            await reader.end()
            raise
        return reader

    async def _send_job(self, reader: ForkedReader, packet: bytes) -> None:
        output, their_output = socket.socketpair()
        errors, their_errors = socket.socketpair()
        try:
            socket.send_fds(self._control, [packet], [their_output.fileno(), their_errors.fileno()])
        except OSError as error:
            output.close()
            errors.close()
            self.fail("takes no more jobs")
            raise ReaderLost from error
        finally:
            their_output.close()
            their_errors.close()
        await reader.listen(output, errors)

    def load(self, libraries: list[str]) -> None:
        """Loads a library that a file needed, so that the next file finds it loaded."""
        for one in libraries:
            if one not in self._loaded and not self.over:
                self._loaded.add(one)
                self._send({"load": one})

    def let_go(self, number: int) -> None:
        if self._readers.pop(number, None) is None or self.over:
            return
        self._send({"reap": number})
        if not self._readers:
            self._idle = self._loop.call_later(self._idle_seconds, self.end)

    def fail(self, what: str, *, gone: bool = False) -> None:
        """Kills it and all that it forked. `gone`: it died with its readers, and their process ids may belong to
        others."""
        if self.over:
            return
        _log.warning("the process that forks readers failed", reason=what, pid=self._process.pid)
        self.failed = True
        if not gone and self._process.returncode is None:
            for reader in self._readers.values():
                reader.kill()
            kill_group(self._process.pid)
        self.end()

    def end(self) -> None:
        """Closing the socket ends the process; readers that still run are lost."""
        if self.over:
            return
        self.over = True
        if self._idle is not None:
            self._idle.cancel()
        self._loop.remove_reader(self._control)
        self._control.close()
        for reader in self._readers.values():
            reader.on_end(None)
        self._reaping = self._loop.create_task(self._reap(), name="converting.zygote")

    async def ended(self) -> None:
        self.end()
        assert self._reaping is not None
        await asyncio.shield(self._reaping)

    async def _reap(self) -> None:
        try:
            async with asyncio.timeout(REAP_SECONDS_MAX):
                await self._process.wait()
        except TimeoutError:
            kill_group(self._process.pid)
            await self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(orjson.dumps(message))
        except OSError:
            self.fail("takes no more jobs")

    def _receive(self) -> None:
        while not self.over:
            try:
                packet = self._control.recv(PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.fail("is gone", gone=True)
                return
            self._handle(orjson.loads(packet))

    def _handle(self, message: dict[str, Any]) -> None:
        if "unfit" in message:
            self.fail(f"is unfit: {message['unfit']}")
        elif reader := self._readers.get(message.get("started") or message["ended"]):
            if "pid" in message:
                reader.on_start(message["pid"])
            else:
                reader.on_end(message["status"])


class Zygotes:
    """Forks readers while a zygote works."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._rests_until = 0.0
        self._closed = False

    async def fork(self, job: JobFields) -> ForkedReader | None:
        """None where there is no zygote: the caller starts an interpreter."""
        if len(orjson.dumps(job)) > PACKET_BYTES_MAX:
            return None
        zygote = await self._living()
        if zygote is None:
            return None
        with contextlib.suppress(ReaderLost):
            return await zygote.fork(job)
        return None

    def load(self, libraries: list[str]) -> None:
        if self._zygote is not None:
            self._zygote.load(libraries)

    async def _living(self) -> Zygote | None:
        async with self._starting:
            old, loop = self._zygote, asyncio.get_running_loop()
            if old is not None and not old.over:
                return old
            if old is not None:
                await old.ended()
                self._zygote = None
                if old.failed:
                    self._rests_until = loop.time() + REST_SECONDS
            if self._closed or loop.time() < self._rests_until:
                return None
            with contextlib.suppress(OSError):
                self._zygote = await Zygote.start(self._idle_seconds, self._patience_seconds)
            return self._zygote

    async def close(self) -> None:
        self._closed = True
        async with self._starting:
            if self._zygote is not None:
                await self._zygote.ended()
