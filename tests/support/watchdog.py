"""Detects whether anything blocks the event loop, and shows what it was.

    async with Watchdog():
        await client.post(...)

A beat runs on the loop every few milliseconds. It measures the processor time of the loop's own thread between two
beats: wall-clock time grows on a busy machine, processor time does not. A sampling thread records the stack while a
beat is late.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

T = TypeVar("T")

BEAT_SECONDS = 0.005
BLOCKED_SECONDS_MAX = 0.05


TIMES_MAX = 3
"""Code that blocks the loop does so each time. If another program shares the core, processor time is now and then twice
as long."""


async def unblocked(action: Callable[[], Awaitable[T]]) -> T:
    """The result of the action; fails if it blocks the loop."""
    for _ in range(TIMES_MAX - 1):
        try:
            async with Watchdog():
                return await action()
        except Blocked:
            continue
    async with Watchdog():
        return await action()


class Blocked(AssertionError):
    """The loop was blocked for too long."""


class Watchdog:
    def __init__(self, seconds_max: float = BLOCKED_SECONDS_MAX) -> None:
        self._seconds_max = seconds_max
        self._thread_id = 0
        self._beat_at = 0.0
        self._cpu = 0.0
        self._beating = False
        self._late: list[str] = []
        self.longest_seconds = 0.0
        self.stack = ""
        """The stack during the longest block."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._beating = True
        self._cpu, self._beat_at = time.thread_time(), time.monotonic()
        self._loop.call_later(BEAT_SECONDS, self._beat)
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await asyncio.sleep(BEAT_SECONDS * 2)  # The last beat must have seen the last callback.
        self._beating = False
        if kind is None and self.longest_seconds > self._seconds_max:
            raise Blocked(f"the event loop was busy for {self.longest_seconds * 1000:.0f} ms at once:\n{self.stack}")

    def _beat(self) -> None:
        cpu = time.thread_time()
        if cpu - self._cpu > self.longest_seconds:
            self.longest_seconds, self.stack = cpu - self._cpu, self._late[-1] if self._late else ""
        self._cpu, self._beat_at = cpu, time.monotonic()
        self._late.clear()
        if self._beating:
            self._loop.call_later(BEAT_SECONDS, self._beat)

    def _sample(self) -> None:
        while self._beating:
            time.sleep(BEAT_SECONDS)
            if time.monotonic() - self._beat_at > BLOCKED_SECONDS_MAX / 2:
                frame = sys._current_frames().get(self._thread_id)
                self._late.append("".join(traceback.format_stack(frame)[-8:]))
                del self._late[:-3]
