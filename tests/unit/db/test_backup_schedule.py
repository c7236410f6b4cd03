"""A server's own backups: each due one once, in a process of its own; what fails is said and tried again later."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from stoa.db.backup.rules import STAMP
from stoa.db.backup.scheduling import BUSY, RETRY_SECONDS, Backups, Schedule
from stoa.db.checks import Scope
from stoa.kernel.findings import Finding


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def on(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


Make = Callable[[str], Backups]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Make:
    """Backups whose command runs this Python; `directory` is where it puts them."""
    (tmp_path / "backups").mkdir()

    def made(code: str) -> Backups:
        preamble = f"import pathlib, sys, time; directory = pathlib.Path({str(tmp_path / 'backups')!r})\n"
        return Backups(Schedule(tmp_path, "0 * * * *", (sys.executable, "-c", preamble + code), {}), clock)

    return made


def taking(clock: Clock) -> str:
    name = f"{clock.now().strftime(STAMP)}-00000000"
    return f'(directory / {name!r}).touch(); print(\'{{"id": "x", "rows": 1}}\')'


def counted(backups: Backups) -> dict[Any, float]:
    return dict(cast("Any", backups.metrics()[0]).values)


async def overdue(backups: Backups) -> list[Finding]:
    (check,) = backups.checks()
    return [finding async for finding in check.find(cast("Any", None), Scope())]


async def test_a_due_backup_is_taken_once(make: Make, clock: Clock, tmp_path: Path) -> None:
    backups = make(taking(clock))
    await backups.turn()
    assert len(list((tmp_path / "backups").iterdir())) == 1, "the first one at once"
    assert await overdue(backups) == []
    clock.on(1800)
    await make("sys.exit('not due')").turn()
    clock.on(1801)
    again = make(taking(clock))
    await again.turn()
    assert len(list((tmp_path / "backups").iterdir())) == 2
    assert counted(again) == {("taken",): 1, ("failed",): 0}
    clock.on(60)
    assert cast("Any", again.metrics()[1]).read() == 60
    clock.on(3 * 3600)
    (finding,) = await overdue(again)
    assert "the last backup is of 2026-05-04 13:00 UTC, the next one was due at 2026-05-04 14:00 UTC" in finding.detail


async def test_a_failure_is_counted_and_tried_again_later(make: Make, clock: Clock, tmp_path: Path) -> None:
    backups = make("(directory.parent / 'tried').open('a').write('x'); sys.exit('The disk is full.')")
    tried = tmp_path / "tried"
    await backups.turn()
    await backups.turn()
    assert tried.read_text() == "x"
    clock.on(RETRY_SECONDS + 1)
    await backups.turn()
    assert tried.read_text() == "xx"
    assert counted(backups) == {("taken",): 0, ("failed",): 2}
    assert [finding.detail for finding in await overdue(backups)] == ["there is no backup yet"]


async def test_another_node_s_backup_is_no_failure(make: Make) -> None:
    backups = make(f"sys.exit({BUSY})")
    await backups.turn()
    assert counted(backups) == {("taken",): 0, ("failed",): 0}


async def test_a_server_that_stops_ends_its_backup(make: Make, tmp_path: Path) -> None:
    backups = make("pathlib.Path(directory.parent / 'begun').touch(); time.sleep(60)")
    turn = asyncio.create_task(backups.turn())
    async with asyncio.timeout(20):
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.02)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn


async def test_without_a_schedule_nothing_is_taken_or_missed(clock: Clock) -> None:
    backups = Backups(None, clock)
    await backups.start()
    await backups.turn()
    await backups.stop()
    assert await overdue(backups) == []
    assert cast("Any", backups.metrics()[1]).read() == {}
