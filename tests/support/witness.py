"""Observes a server from outside: how long /health takes, and how much memory the process has.

The witness is a process of its own. Its sleeps show whether the machine is quiet: then they end in time, and the server
works more than it waits for a processor. On a quiet machine an answer may take 100 ms, whatever the attack does. If
other programs use the processors too, the kernel reports how much longer the server waited for one, and the bound grows
by as much.
"""

import asyncio
import http.client
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from tests.support.forking import context

INTERVAL_SECONDS = 0.02
SAMPLES_MIN = 50
HEALTH_P99_SECONDS_MAX = 0.1
QUIET_SECONDS_MAX = 0.01
"""How late the witness's sleeps may end, at p99, on a machine that counts as quiet."""
GROWTH_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """What the witness observed during the attack."""

    answers: Sequence[float]
    """Seconds of each GET /health."""
    late: Sequence[float]
    """By how many seconds each sleep of the witness ended too late."""
    ran: float
    waited: float
    """Seconds in which the server's event loop ran, and in which it waited for a processor."""
    memory_before: int
    memory_largest: int

    @property
    def bound(self) -> float:
        late = p99(self.late)
        if late <= QUIET_SECONDS_MAX and self.waited <= self.ran:
            return HEALTH_P99_SECONDS_MAX
        return HEALTH_P99_SECONDS_MAX * (1 + self.waited / max(self.ran, 0.001)) + late


def p99(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100)[98] if len(samples) > 1 else samples[0]


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - a file of the kernel's
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def scheduled(pid: int) -> tuple[float, float]:
    """Seconds in which the main thread ran, and in which it waited for a processor."""
    ran, waited, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def watch(port: int, pid: int, pipe: Connection) -> None:
    """The process of the witness: it polls until it is stopped, then sends its observations."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask() -> float:
        begun = time.perf_counter()
        asked.request("GET", "/health")
        answer = asked.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        return time.perf_counter() - begun

    for _ in range(SAMPLES_MIN):
        ask()
    largest = before = resident_bytes(pid)
    ran, waited = scheduled(pid)
    pipe.send("watching")
    answers: list[float] = []
    late: list[float] = []
    while not pipe.poll() or len(answers) < SAMPLES_MIN:
        begun = time.perf_counter()
        time.sleep(INTERVAL_SECONDS)
        late.append(time.perf_counter() - begun - INTERVAL_SECONDS)
        answers.append(ask())
        largest = max(largest, resident_bytes(pid))
    ran_now, waited_now = scheduled(pid)
    pipe.send(Seen(answers, late, ran_now - ran, waited_now - waited, before, largest))


class Witness:
    """`async with` it around an attack, then `judge`."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._pid = pid
        self.seen: Seen | None = None

    async def __aenter__(self) -> Self:
        self._pipe, there = multiprocessing.Pipe()
        self._process: Any = context().Process(target=watch, args=(self._port, self._pid, there), daemon=True)
        await asyncio.to_thread(self._process.start)
        there.close()
        await asyncio.to_thread(self._pipe.recv)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.send("stop")
        if await asyncio.to_thread(self._pipe.poll, 30):
            self.seen = self._pipe.recv()
        await asyncio.to_thread(self._process.join, 10)
        if self._process.is_alive():
            self._process.kill()

    def judge(self) -> None:
        assert self.seen is not None, "the server stopped answering /health"
        took = p99(self.seen.answers)
        assert took < self.seen.bound, (
            f"/health took {took * 1000:.0f} ms at p99 of {len(self.seen.answers)}; {self.seen.bound * 1000:.0f} are"
            f" allowed: sleeps ended {p99(self.seen.late) * 1000:.0f} ms late, and the server waited"
            f" {self.seen.waited:.1f} s for a processor, beside {self.seen.ran:.1f} s of work"
        )
        grown = self.seen.memory_largest - self.seen.memory_before
        assert grown < GROWTH_BYTES_MAX, f"the process grew by {grown / 1024 / 1024:.0f} MiB"
