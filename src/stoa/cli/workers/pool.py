"""Starts, monitors, restarts and drains the workers of one server."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from stoa.cli.listening import StartError
from stoa.cli.workers.channel import Channel
from stoa.cli.workers.counts import Counts
from stoa.kernel.shared_counts import SharedCounts, memory_for
from stoa.kernel.snapshots import Family

FAILURES_MAX: Final = 5
"""Consecutive failed starts of one worker before the server ends. The server continues while another worker serves,
because one worker without enough memory is no reason to stop the others."""
PAUSE_SECONDS_MAX: Final = 30.0
STEADY_SECONDS: Final = 10.0
"""A worker that has served for this long is restarted without a pause."""
UNANSWERED_MAX: Final = 6
"""A worker that does not answer this many requests for counts is considered stuck, and is ended. It counts requests and
not seconds, so that after a suspend of the machine a worker is asked again first."""
DRAINED: Final = "with exit code 0"
CHILD: Final = (sys.executable, "-P", "-m", "stoa.cli.workers.child")
"""`-P` keeps the working directory, which `-m` would add, off Python's import path."""
_log = structlog.get_logger("stoa.workers")


class Worker:
    """One worker by number, with its current process."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.ready_at: float | None = None
        self.started_at = 0.0
        self.unanswered = 0
        self.stuck = False
        self.refused: tuple[str, bool] | None = None
        """Why it cannot start, and whether that is because the database is unreachable."""
        self.failures = 0
        """Consecutive failed starts."""
        self.quick_ends = 0
        """Consecutive ends before or soon after it began to serve."""

    def send(self, what: str, **fields: Any) -> None:
        if self.channel is not None:
            self.channel.send(what, **fields)

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(sign)


@dataclass(frozen=True, slots=True)
class Pace:
    """Intervals and timeouts, in seconds."""

    pause_min: float = 0.25
    """The pause before the second start of a worker that ends quickly. It doubles each time, up to half a minute."""
    count_every: float = 10.0
    """The interval between requests for counts. If a worker is killed, its counts since the last request are lost."""
    start_max: float = 180.0
    abort: float = 2.0
    """The time for a stuck worker to write its stack traces."""
    drain_more: float = 20.0
    """The time beyond the drain's timeout, after which the remaining workers are told to end."""
    end_max: float = 10.0
    """The time from then until a worker is killed."""


class WorkerPool:
    def __init__(
        self,
        count: int,
        listening: socket.socket,
        stopping: Callable[[], bool],
        *,
        command: Sequence[str] = CHILD,
        pace: Pace | None = None,
    ) -> None:
        self._command = command
        self._pace = pace or Pace()
        self._workers = [Worker(place) for place in range(1, count + 1)]
        self._listening = listening
        self._memory = memory_for(count)
        self._key = os.urandom(16)
        self._addresses = SharedCounts(self._memory, count, self._key)
        self._stopping = stopping
        self._counts = Counts()
        self._order: dict[str, Any] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pages: set[asyncio.Task[None]] = set()
        self._first: dict[int, dict[str, Any]] = {}
        """The first `ready` message of each worker."""
        self._changed = asyncio.Event()
        self.failed: StartError | None = None
        """Why the server must end; None while it need not."""

    # --- start ------------------------------------------------------------------------------------------------------
    async def spawn(self) -> None:
        """Starts the processes. They load their modules and wait for the message of `serve`."""
        for worker in self._workers:
            await self._spawn(worker)

    async def serve(self, settings: dict[str, Any], dsn: str) -> Sequence[dict[str, Any]]:
        """Makes the workers serve, and restarts those that end. Returns their `ready` messages when all are ready.
        Raises StartError."""
        self._order = {"settings": settings, "dsn": dsn, "workers": len(self._workers), "key": self._key.hex()}
        self._tasks = [
            *(asyncio.create_task(self._keep(worker), name=f"worker {worker.place}") for worker in self._workers),
            asyncio.create_task(self._ask(), name="workers.ask"),
        ]
        while len(self._first) < len(self._workers):
            await self.changed()
        return [self._first[worker.place] for worker in self._workers]

    async def changed(self) -> None:
        """Waits until a worker is ready or has ended. Raises StartError if the server must end."""
        await self._changed.wait()
        self._changed.clear()
        if self.failed is not None:
            raise self.failed

    async def _spawn(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        handed = (theirs.fileno(), self._listening.fileno(), self._memory)
        arguments = map(str, (worker.place, os.getpid(), *handed))
        try:
            worker.process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                stdin=subprocess.PIPE,
                pass_fds=handed,
                start_new_session=True,  # A Ctrl-C in the terminal must reach only the parent.
            )
        finally:
            theirs.close()
        worker.channel = await Channel.open(ours)
        worker.started_at, worker.ready_at = time.monotonic(), None
        worker.unanswered, worker.stuck, worker.refused = 0, False, None

    # --- life -------------------------------------------------------------------------------------------------------
    async def _keep(self, worker: Worker) -> None:
        while True:
            try:
                if worker.process is None:
                    await self._spawn(worker)
                await self._live(worker)
            except OSError as error:  # No process can be started: too many processes, or no memory.
                worker.refused = (error.strerror or str(error), bool(self._ready()))
            how = self._ended(worker)
            if self._stopping() or self.failed is not None:
                return
            pause = self._judge(worker, how)
            self._changed.set()
            if self.failed is not None:
                return
            await asyncio.sleep(pause)
            if self._stopping():
                return

    async def _live(self, worker: Worker) -> None:
        """From sending its order to the end of its process."""
        assert worker.channel is not None
        assert worker.process is not None
        worker.send("serve", **self._order, welcomes=worker.place not in self._first and worker.place == 1)
        try:
            async for message in worker.channel.messages():
                self._received(worker, message)
            # The worker has closed its end of the channel: it has ended, or is about to.
            async with asyncio.timeout(self._pace.end_max):
                await worker.process.wait()
        except TimeoutError:
            worker.kill()
            await worker.process.wait()
        finally:
            worker.channel.close()

    def _received(self, worker: Worker, message: dict[str, Any]) -> None:
        match message["is"]:
            case "ready":
                worker.ready_at = time.monotonic()
                worker.failures = 0
                if worker.place in self._first:
                    _log.info("worker is back", worker=worker.place)
                self._first.setdefault(worker.place, message["said"])
                self._changed.set()
            case "refused":
                worker.refused = (message["why"], message["away"])
            case "counts":
                worker.unanswered = 0
                self._counts.received(worker.place, message["families"])
            case "page":
                task = asyncio.create_task(self._answer(worker, message["number"]), name="workers.page")
                self._pages.add(task)
                task.add_done_callback(self._pages.discard)
            case other:
                raise AssertionError(f"unknown message {other!r}")

    def _ended(self, worker: Worker) -> str:
        """Forgets the process. Returns how it ended, as text for the log."""
        code = worker.process.returncode if worker.process is not None else None
        how = _kind(code, stuck=worker.stuck)
        self._counts.ended(worker.place, None if self._stopping() else how)
        self._addresses.clear(worker.place - 1)
        worker.process = worker.channel = None
        return "by SIG" + signal.Signals(-code).name[3:] if code is not None and code < 0 else f"with exit code {code}"

    def _judge(self, worker: Worker, how: str) -> float:
        """Seconds until it is restarted. Sets `failed` if the server must end."""
        served = None if worker.ready_at is None else time.monotonic() - worker.ready_at
        steady = served is not None and (served > STEADY_SECONDS or how == DRAINED)
        worker.quick_ends = 0 if steady else worker.quick_ends + 1
        pause = (
            min(self._pace.pause_min * 2 ** (worker.quick_ends - 1), PAUSE_SECONDS_MAX) if worker.quick_ends else 0.0
        )
        why, away = worker.refused or ("", False)
        if served is None and not (away and self._ready()):
            worker.failures += 1
            if why and not self._ready() and worker.place not in self._first:
                self.failed = StartError(why)
            elif worker.failures >= FAILURES_MAX and (worker.place not in self._first or not self._ready()):
                self.failed = StartError(
                    f"Worker {worker.place} has ended {worker.failures} times in a row before it was ready, at last "
                    f"{how}{f' ({why})' if why else ''}. The lines of the log above this one say why. The server ends."
                )
        if how == DRAINED:
            _log.info("worker has drained", worker=worker.place, restart_seconds=pause)
        else:
            _log.error(
                "worker ended", worker=worker.place, how=how, why=why or None, stuck=worker.stuck, restart_seconds=pause
            )
        return pause

    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready_at is not None and worker.process is not None]

    async def _ask(self) -> None:
        """Requests counts from each worker, and ends workers that do not answer (UNANSWERED_MAX)."""
        while True:
            await asyncio.sleep(self._pace.count_every)
            if os.getpid() == 1:
                reap(set(self.pids().values()))
            for worker in self._workers:
                if worker.process is None:
                    continue
                late = worker.ready_at is None and time.monotonic() - worker.started_at > self._pace.start_max
                if late or worker.unanswered >= UNANSWERED_MAX:
                    await self._abort(worker)
                elif worker.ready_at is not None:
                    worker.unanswered += 1
                    worker.send("count", whole=False)

    async def _abort(self, worker: Worker) -> None:
        _log.error("worker is stuck", worker=worker.place)
        process = worker.process
        worker.stuck = True
        worker.kill(signal.SIGABRT)
        await asyncio.sleep(self._pace.abort)
        if worker.process is process:
            worker.kill()

    def pids(self) -> dict[int, int]:
        """Process ids of the running workers, by number."""
        return {worker.place: worker.process.pid for worker in self._workers if worker.process is not None}

    # --- the page of metrics ----------------------------------------------------------------------------------------
    async def _answer(self, asking: Worker, number: int) -> None:
        asking.send("page", number=number, families=await self.page(asking.place))

    async def page(self, asked: int) -> list[Family]:
        """The metrics of all workers. `asked` is the worker that got the request."""
        ready = self._ready()
        for worker in ready:
            worker.send("count", whole=True)
        answered = await self._counts.answers([worker.place for worker in ready])
        states = {
            "ready": len(answered),
            "silent": len(ready) - len(answered),
            "starting": len(self._workers) - len(ready),
        }
        return self._counts.page(asked, answered, states)

    # --- end --------------------------------------------------------------------------------------------------------
    async def drain(self, seconds_max: float, forced: asyncio.Event) -> None:
        """Drains all workers. Kills those that are not done in time, or some seconds after `forced`."""
        self._listening.close()  # The workers listen until each has drained.
        for task in self._tasks[len(self._workers) :]:
            task.cancel()
        for worker in self._workers:
            worker.send("drain")
        keeping = asyncio.create_task(self._gone(), name="workers.gone")
        pressing = asyncio.create_task(forced.wait(), name="force")
        await asyncio.wait(
            [keeping, pressing], timeout=seconds_max + self._pace.drain_more, return_when=asyncio.FIRST_COMPLETED
        )
        pressing.cancel()
        if not keeping.done():
            for worker in self._workers:
                worker.send("end")
            await asyncio.wait([keeping], timeout=self._pace.end_max)
        if left := [worker.place for worker in self._workers if worker.process is not None]:
            _log.error("workers did not drain", workers=left)
        await self.kill()
        keeping.cancel()

    async def _gone(self) -> None:
        """Waits until every process has ended."""
        keepers = self._tasks[: len(self._workers)]
        for worker, keeper in zip(self._workers, keepers, strict=True):
            if worker.process is None:  # It is between two starts.
                keeper.cancel()
        await asyncio.wait(keepers)

    async def kill(self) -> None:
        """Kills the remaining processes. Calling it again does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers:
            if worker.process is not None:
                worker.kill()
                await worker.process.wait()
            if worker.channel is not None:
                worker.channel.close()
            worker.process = worker.channel = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


def _kind(code: int | None, *, stuck: bool) -> str:
    if stuck:
        return "stuck"
    if code == 0:
        return "drained"
    return "signal" if code is not None and code < 0 else "exit"


def reap(known: set[int]) -> None:
    """Reaps orphaned processes. In a container this process may be process 1, which inherits the children of a killed
    worker. They end by themselves, but would stay as zombies."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in map(int, children):
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            if child not in known and state == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)
