"""Runs several generators of steps concurrently, as one stream. A generator continues once its step was consumed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from stoa.runs.agent.steps import Step


@dataclass(frozen=True, slots=True)
class _Given:
    step: Step
    taken: asyncio.Event


async def merged(parts: Sequence[AsyncGenerator[Step]]) -> AsyncGenerator[Step]:
    """The parts' steps as they come. When the consumer asks for the next one, the last one's part goes on.

    A part that raises ends the others and raises here. Leaving early ends them all, wherever they are.
    """
    if len(parts) == 1:
        async with aclosing(parts[0]) as part:
            async for step in part:
                yield step
        return
    given: asyncio.Queue[_Given | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(part, given), name="runs.part") for part in parts]
    running = len(tasks)
    try:
        while running:
            item = await given.get()
            if item is None:
                running -= 1
                for task in tasks:
                    if task.done() and not task.cancelled() and (error := task.exception()):
                        raise error
                continue
            yield item.step
            item.taken.set()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(part: AsyncGenerator[Step], given: "asyncio.Queue[_Given | None]") -> None:
    try:
        async with aclosing(part):
            async for step in part:
                item = _Given(step, asyncio.Event())
                given.put_nowait(item)
                await item.taken.wait()
    finally:
        given.put_nowait(None)
