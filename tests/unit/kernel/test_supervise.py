"""A kept loop comes back whatever ends it, and whoever watches sees the one that makes no progress."""

import asyncio

import pytest
import structlog

from stoa.kernel import supervise
from stoa.kernel.errors import Unavailable
from stoa.kernel.supervise import Heartbeat, Heartbeats, Supervisor, Wakeup

pytestmark = pytest.mark.timeout(10)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "RESTART_SECONDS", 0.0)


class FailingLog:
    """A logger whose disk is full."""

    def __getattr__(self, _: str) -> object:
        def write(*_args: object, **_fields: object) -> None:
            raise OSError(28, "No space left on device")

        return write


@pytest.fixture
def unwritable_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_log", FailingLog())


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Unavailable("away"), asyncio.CancelledError(), OSError(28)])
async def test_a_loop_whose_logger_raises_is_restarted(unwritable_log: None, error: BaseException) -> None:
    turns = 0
    third = asyncio.Event()

    async def loop() -> None:
        nonlocal turns
        turns += 1
        if turns < 3:
            raise error
        third.set()
        await asyncio.Event().wait()

    supervisor = Supervisor()
    supervisor.keep(loop, "loop")
    async with asyncio.timeout(5):
        await third.wait()
        await supervisor.stop()


async def test_one_task_that_fails_while_the_log_is_full_raises_nothing(unwritable_log: None) -> None:
    async def work() -> None:
        raise RuntimeError("a bug")

    supervisor = Supervisor()
    await supervisor.once(work(), "work")
    await supervisor.stop()


async def test_a_bug_is_logged_with_its_task() -> None:
    began = asyncio.Event()

    async def loop() -> None:
        if not began.is_set():
            began.set()
            raise RuntimeError("a bug")
        await asyncio.Event().wait()

    supervisor = Supervisor()
    with structlog.testing.capture_logs() as logged:
        supervisor.keep(loop, "some.loop")
        await began.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await supervisor.stop()
    assert [(one["event"], one["task"], one["log_level"]) for one in logged] == [("bug", "some.loop", "error")]


async def test_stop_ends_a_loop_in_the_middle_of_a_turn() -> None:
    began = asyncio.Event()

    async def loop() -> None:
        began.set()
        await asyncio.Event().wait()

    supervisor = Supervisor()
    supervisor.keep(loop, "loop")
    await began.wait()
    async with asyncio.timeout(5):
        await supervisor.stop()


async def test_periodic_work_continues_without_the_database() -> None:
    turns, third = 0, asyncio.Event()

    async def action() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            third.set()
        raise Unavailable("The database is away.")

    supervisor = Supervisor()
    supervisor.keep_every(0.001, action, "often")
    async with asyncio.timeout(5):
        await third.wait()
        await supervisor.stop()


async def test_a_wakeup_is_not_lost_while_nobody_waits() -> None:
    wakeup = Wakeup(3_600)
    wakeup.wake()
    async with asyncio.timeout(5):
        await wakeup.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wakeup.wait()


async def test_a_wait_times_out_because_a_notification_may_be_lost() -> None:
    async with asyncio.timeout(5):
        await Wakeup(0.001).wait()


def test_a_loop_with_a_long_turn_counts_as_stuck() -> None:
    now = 100.0
    heartbeat = Heartbeat("loop", 10, lambda: now)
    now = 10_000.0
    assert not heartbeat.stuck, "a loop that waits for work is healthy for ever"
    heartbeat.begin()
    now += 9
    heartbeat.begin()  # The same turn, tried again: it has been due since the first time.
    assert not heartbeat.stuck
    now += 2
    assert heartbeat.stuck
    heartbeat.done()
    assert not heartbeat.stuck


async def test_a_loop_that_fails_at_every_turn_is_seen_and_named() -> None:
    now = 0.0
    failing, other = Heartbeat("failing", 10, lambda: now), Heartbeat("other", 10, lambda: now)
    heartbeats = Heartbeats([failing], [other])
    failed = asyncio.Event()
    broken = True

    async def loop() -> None:
        failing.begin()
        if broken:
            failed.set()
            raise RuntimeError("a bug")
        failing.done()
        worked.set()
        await asyncio.Event().wait()

    worked = asyncio.Event()
    supervisor = Supervisor()
    supervisor.keep(loop, "failing", failing)
    await failed.wait()
    heartbeats.check_vital()
    now = 11.0
    with pytest.raises(Unavailable, match="failing"):
        heartbeats.check_vital()
    assert heartbeats.stuck() == ["failing"]
    broken = False
    async with asyncio.timeout(5):
        await worked.wait()
    heartbeats.check_vital()
    other.begin()
    now = 30.0
    heartbeats.check_vital()
    assert heartbeats.stuck() == ["other"], "what no answer depends on is for the doctor, not for the load balancer"
    await supervisor.stop()
