"""Live ends in memory: what a reader gets from them, and when it is woken."""

import asyncio
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from stoa.events import EventType
from stoa.journal import LiveBuffer, Record, Subscription, frames_of
from stoa.journal.live_buffer import BUFFER_BYTES_MAX

RUN = UUID(int=7)


def records(first: int, count: int, size: int = 10) -> list[Record]:
    return [
        Record(sequence, EventType.RESPONSE_DELTA, b"%d" % sequence + b"x" * size)
        for sequence in range(first, first + count)
    ]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(0, 200),
    st.sampled_from([10, BUFFER_BYTES_MAX // 30]),
)
def test_the_buffer_returns_exactly_the_next_events_or_none(batches: list[int], after: int, size: int) -> None:
    live, written = LiveBuffer(), []
    for count in batches:
        fresh = records(len(written) + 1, count, size)
        live.publish(RUN, fresh)
        written += fresh
        for _ in range(2):  # The second reader gets what was made for the first.
            for cursor in {after, len(written) - count, len(written)}:
                found = live.after(RUN, cursor)
                if cursor <= len(written) and found is not None:
                    assert found.frames == frames_of(written[cursor:])
                    assert found.last_sequence == len(written)
    assert live.after(RUN, len(written)) is not None, "who is up to date never needs the table"


def test_a_run_that_went_elsewhere_and_came_back_leaves_no_gap() -> None:
    live = LiveBuffer()
    live.publish(RUN, records(1, 16))
    live.publish(RUN, records(18, 2))  # Another node wrote 17.
    assert live.after(RUN, 16) is None
    found = live.after(RUN, 17)
    assert found is not None
    assert found.frames == frames_of(records(18, 2))


async def test_a_waiting_reader_is_not_woken_while_memory_serves_it() -> None:
    subscription, served = Subscription(RUN), []

    def flush() -> bool:
        served.append(len(served) + 1)
        return len(served) < 3

    parked = asyncio.create_task(subscription.park(flush))
    await asyncio.sleep(0)
    for wanted in (1, 2):
        subscription.wake()
        subscription.wake()  # Nudges that meet are one.
        await asyncio.sleep(0)
        assert (len(served), parked.done()) == (wanted, False)
    subscription.wake()
    async with asyncio.timeout(1):
        await parked
    assert len(served) == 3


async def test_a_wake_before_waiting_is_not_lost() -> None:
    subscription = Subscription(RUN)
    subscription.wake()
    async with asyncio.timeout(1):
        await subscription.park(lambda: True)


async def test_a_wake_after_the_reader_has_left_has_no_effect() -> None:
    subscription, served = Subscription(RUN), []
    parked = asyncio.create_task(subscription.park(lambda: bool(served.append(1)) or True))
    await asyncio.sleep(0)
    subscription.wake()
    parked.cancel()
    await asyncio.gather(parked, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(served) <= 1
    subscription.wake()
    async with asyncio.timeout(1):
        await subscription.wait()


async def test_a_flush_that_fails_wakes_its_reader() -> None:
    subscription, told = Subscription(RUN), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def flush() -> bool:
        raise RuntimeError("the reader's own failure")

    try:
        parked = asyncio.create_task(subscription.park(flush))
        await asyncio.sleep(0)
        subscription.wake()
        async with asyncio.timeout(1):
            await parked
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert len(told) == 1, "the failure is told, and not to whoever wrote the journal"


async def test_a_run_leaves_memory_after_its_readers_got_the_last_events() -> None:
    live, read = LiveBuffer(), []

    def flush() -> bool:
        read.append(live.after(RUN, 0))
        return False

    with live.subscribe(RUN) as subscription:
        parked = asyncio.create_task(subscription.park(flush))
        await asyncio.sleep(0)
        live.publish(RUN, records(1, 2))
        live.forget(RUN)  # As the end of a run does, in the same breath.
        await parked
    assert read
    assert read[0] is not None, "the reader had to go to the table for what had just been in memory"
    await asyncio.sleep(0)
    assert live.after(RUN, 2) is None
    assert not live.live(RUN)


async def test_a_run_that_is_taken_up_again_at_once_keeps_its_new_tail() -> None:
    live = LiveBuffer()
    live.forget(RUN)
    live.publish(RUN, records(3, 1))
    await asyncio.sleep(0)
    found = live.after(RUN, 2)
    assert found is not None
    assert found.last_sequence == 3
