"""Runs several generators of steps concurrently, as one stream. A generator continues once its step was consumed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from stoa.runs.agent.steps import Step


@dataclass(frozen=True, slots=True)
class _Given:
    step: Step
    taken: asyncio.Event


class Parallel:
    """Concurrent generators; more may be added at any time. Leaving the context closes all of them."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[_Given | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: _Given | None = None
        self.running = 0

    def add(self, part: AsyncGenerator[Step]) -> None:
        self._tasks.add(asyncio.create_task(self._pump(part), name="runs.part"))
        self.running += 1

    async def next(self) -> Step | None:
        """The next step, or None when a generator has ended; the generator of the previous step continues. Raises an
        exception of a generator. Call it only while generators are running."""
        if self._last is not None:
            self._last.taken.set()
        self._last = await self._given.get()
        if self._last is not None:
            return self._last.step
        self.running -= 1
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                raise error
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pump(self, part: AsyncGenerator[Step]) -> None:
        try:
            async with aclosing(part):
                async for step in part:
                    item = _Given(step, asyncio.Event())
                    self._given.put_nowait(item)
                    await item.taken.wait()
        finally:
            self._given.put_nowait(None)


async def merged(parts: Sequence[AsyncGenerator[Step]]) -> AsyncGenerator[Step]:
    """The generators' steps in the order of arrival. A generator continues when the consumer asks for the next step.

    An exception of one generator closes the others and is raised here. Leaving early closes all of them.
    """
    if len(parts) == 1:
        async with aclosing(parts[0]) as part:
            async for step in part:
                yield step
        return
    async with Parallel() as at_work:
        for part in parts:
            at_work.add(part)
        while at_work.running:
            step = await at_work.next()
            if step is not None:
                yield step
