"""Watches a server from outside: how long /health takes, and how much memory the process holds."""

import asyncio
import http.client
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any, Self

from tests.support.nodes import context

INTERVAL_SECONDS = 0.02
SAMPLES_MIN = 50
HEALTH_P99_SECONDS_MAX = 0.1
CROWDED_FACTOR = 5
"""Where the machine is so busy with other things that the slowest answer before the attack was slow already."""
GROWTH_BYTES_MAX = 64 * 1024 * 1024


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - a file of the kernel's
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def watch(port: int, pid: int, pipe: Connection) -> None:
    """The process of the witness: asks until it is told to stop, then sends its samples and the greatest memory."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask() -> float:
        begun = time.perf_counter()
        asked.request("GET", "/health")
        answer = asked.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        return time.perf_counter() - begun

    usual = max(ask() for _ in range(SAMPLES_MIN))
    largest = before = resident_bytes(pid)
    pipe.send(before)
    samples: list[float] = []
    while not pipe.poll(INTERVAL_SECONDS) or len(samples) < SAMPLES_MIN:
        samples.append(ask())
        largest = max(largest, resident_bytes(pid))
    pipe.send((samples, usual, before, largest))


class Witness:
    """`async with` it around an attack, then `judge`."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._pid = pid
        self.samples: list[float] = []
        self.usual = 0.0
        self.before = self.largest = 0

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
            self.samples, self.usual, self.before, self.largest = self._pipe.recv()
        await asyncio.to_thread(self._process.join, 10)
        if self._process.is_alive():
            self._process.kill()

    def judge(self) -> None:
        assert self.samples, "the server stopped answering /health"
        p99 = statistics.quantiles(self.samples, n=100)[98] if len(self.samples) > 1 else self.samples[0]
        crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        bound = max(HEALTH_P99_SECONDS_MAX * crowd, CROWDED_FACTOR * self.usual)
        assert p99 < bound, (
            f"/health took {p99 * 1000:.0f} ms at p99 of {len(self.samples)}, {bound * 1000:.0f} allowed"
        )
        grown = self.largest - self.before
        assert grown < GROWTH_BYTES_MAX, f"the process grew by {grown / 1024 / 1024:.0f} MiB"
