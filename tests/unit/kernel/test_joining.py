"""What is asked for at the same moment is done together, and what hangs holds up nobody for long."""

import asyncio
from collections.abc import Sequence

import pytest

from stoa.kernel.errors import DatabaseUnavailable
from stoa.kernel.joining import Joined, JoinedByKey


class Work:
    """Keeps the batches that it was given, and gives each item doubled once `gate` is open."""

    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 for item in items]


async def test_concurrent_and_waiting_items_are_batched() -> None:
    work = Work()
    joined = Joined("work", work, items_max=3, at_once_max=1)
    async with asyncio.timeout(5):
        first = [asyncio.create_task(joined.do(item)) for item in (1, 2)]
        while not work.batches:
            await asyncio.sleep(0)
        later = [asyncio.create_task(joined.do(item)) for item in (3, 4, 5, 6)]
        await asyncio.sleep(0)
        work.gate.set()
        assert await asyncio.gather(*first, *later) == [2, 4, 6, 8, 10, 12]
    assert work.batches == [[1, 2], [3, 4, 5], [6]]


async def test_hanging_work_blocks_others_no_longer_than_its_limit() -> None:
    work = Work()
    joined = Joined("work", work, items_max=9, at_once_max=1, seconds_max=0.01)
    async with asyncio.timeout(5):
        hanging = asyncio.create_task(joined.do(1))
        while not work.batches:
            await asyncio.sleep(0)
        other = asyncio.create_task(joined.do(2))
        while len(work.batches) < 2:
            await asyncio.sleep(0.001)
        work.gate.set()
        assert await asyncio.gather(hanging, other) == [2, 4]


async def test_work_of_a_cancelled_caller_is_completed() -> None:
    work = Work()
    joined = Joined("work", work, items_max=9, at_once_max=1)
    async with asyncio.timeout(5):
        gone, stays = (asyncio.create_task(joined.do(item)) for item in (1, 2))
        while not work.batches:
            await asyncio.sleep(0)
        gone.cancel()
        work.gate.set()
        assert await stays == 4
    assert work.batches == [[1, 2]]


@pytest.mark.parametrize("error", [ValueError("no"), DatabaseUnavailable("The database is away.")])
async def test_an_exception_is_raised_for_each_item(error: Exception) -> None:
    work = Work()
    work.error = error
    work.gate.set()
    joined = Joined("work", work, items_max=9, at_once_max=1)
    async with asyncio.timeout(5):
        raised = await asyncio.gather(joined.do(1), joined.do(2), return_exceptions=True)
        assert [type(one) for one in raised] == [type(error)] * 2
        work.error = None
        assert await joined.do(3) == 6


async def test_the_first_is_done_alone_and_those_behind_it_together() -> None:
    work, alone = Work(), asyncio.Event()
    work.gate.set()

    async def by_itself(item: int) -> int:
        await alone.wait()
        return -item

    joined = Joined("work", work, items_max=9, at_once_max=1, alone=by_itself)
    async with asyncio.timeout(5):
        asked = [asyncio.create_task(joined.do(item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        alone.set()
        assert await asyncio.gather(*asked) == [-1, 4, 6]
        assert joined.idle
        assert await joined.do(4) == -4
    assert work.batches == [[2, 3]]


async def test_a_key_shares_its_work_and_delays_no_other() -> None:
    works = {"a": Work(), "b": Work()}

    async def work(key: str, items: Sequence[int]) -> Sequence[int]:
        return await works[key](items)

    joined = JoinedByKey("work", work, items_max=9)
    works["b"].gate.set()
    async with asyncio.timeout(5):
        held = [asyncio.create_task(joined.do("a", item)) for item in (1, 2)]
        while not works["a"].batches:
            await asyncio.sleep(0)
        assert await joined.do("b", 3) == 6
        held.append(asyncio.create_task(joined.do("a", 4)))
        await asyncio.sleep(0)
        works["a"].gate.set()
        assert await asyncio.gather(*held) == [2, 4, 8]
    assert works["a"].batches == [[1, 2], [4]]


async def test_a_shutdown_waits_for_work_whose_callers_are_gone() -> None:
    work = Work()

    async def by_key(_key: str, items: Sequence[int]) -> Sequence[int]:
        return await work(items)

    joined = JoinedByKey("work", by_key, items_max=9)
    async with asyncio.timeout(5):
        gone = asyncio.create_task(joined.do("a", 1))
        while not work.batches:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        finished = asyncio.create_task(joined.finished())
        await asyncio.sleep(0)
        assert not finished.done()
        work.gate.set()
        await finished
