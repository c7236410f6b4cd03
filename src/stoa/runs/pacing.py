"""Time for nodes of a workflow: waits, limits, and work outside of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


class Pacing:
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def within(self, seconds: float | None, work: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await work

    def now(self) -> float:
        return monotonic()

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)
