"""Parts at work at once: their steps come as they come, each part goes on once its step was taken."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from stoa.runs.agent.parallel import merged
from stoa.runs.agent.steps import Checkpoint, Step


async def part(name: str, steps: int, log: list[str], gate: asyncio.Event | None = None) -> AsyncGenerator[Step]:
    try:
        for number in range(steps):
            if gate is not None:
                await gate.wait()
            yield Checkpoint(change=lambda number=number: log.append(f"{name}{number}"))
            log.append(f"{name} after {number}")
    finally:
        log.append(f"{name} closed")


async def test_a_generator_continues_when_its_step_was_consumed() -> None:
    log: list[str] = []
    async with aclosing(merged([part("a", 2, log), part("b", 2, log)])) as steps:
        async for step in steps:
            assert isinstance(step, Checkpoint)
            step.change()
    for name in "ab":
        mine = [line for line in log if line.startswith(name)]
        assert mine == [f"{name}0", f"{name} after 0", f"{name}1", f"{name} after 1", f"{name} closed"]


async def test_a_paused_generator_does_not_block_the_others() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    seen = 0
    async with aclosing(merged([part("a", 1, log, gate), part("b", 3, log)])) as steps:
        async for step in steps:
            assert isinstance(step, Checkpoint)
            step.change()
            seen += 1
            if seen == 3:
                gate.set()
    assert log.index("b2") < log.index("a0")
    assert seen == 4


async def test_a_part_that_breaks_ends_the_others() -> None:
    log: list[str] = []

    async def broken() -> AsyncGenerator[Step]:
        yield Checkpoint()
        raise KeyError("broken")

    with pytest.raises(KeyError):
        async with aclosing(merged([part("a", 1, log, asyncio.Event()), broken()])) as steps:
            async for _ in steps:
                pass
    assert log == ["a closed"]


async def test_leaving_early_closes_every_part() -> None:
    log: list[str] = []
    async with aclosing(merged([part("a", 5, log), part("b", 5, log)])) as steps:
        async for _ in steps:
            break
    assert sorted(line for line in log if "closed" in line) == ["a closed", "b closed"]
