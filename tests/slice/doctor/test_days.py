"""The doctor goes day by day: what is whole and settled is not looked at again, what is broken is found each time, what
did not end goes on."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from stoa.db import Database, Tx
from stoa.db.checks import Check, Scope
from stoa.doctor import DataLocation, Doctor, rules
from stoa.doctor.types import Day
from stoa.kernel.clock import SystemClock
from stoa.kernel.findings import Finding, Timeline
from stoa.kernel.principal import Principal

NOW = datetime(2026, 6, 10, 12, 30, tzinfo=UTC)
TODAY = NOW.replace(hour=0, minute=0)
ORG = UUID(int=1)


def day(number: int) -> datetime:
    return TODAY + timedelta(days=number)


class _Now(SystemClock):
    """A test may run past midnight; its days may not."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


class Looked:
    """A check that notes which days it was asked about; a day in `broken` has a finding, one in `slow` does not end."""

    def __init__(self) -> None:
        self.spans: list[tuple[datetime | None, datetime | None]] = []
        self.broken: set[datetime] = set()
        self.stop_after: int | None = None

    async def find(self, _: Tx, scope: Scope) -> AsyncIterator[Finding]:
        if self.stop_after is not None and len(self.spans) == self.stop_after:
            await asyncio.Event().wait()  # Until the check's time is over.
        self.spans.append((scope.since, scope.until))
        for moment in sorted(self.broken):
            if (scope.since is None or moment >= scope.since) and (scope.until is None or moment < scope.until):
                yield Finding(ORG, str(moment), "broken")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(dsn, connections_max=2)
    yield opened
    await opened.close()


def doctor(
    database: Database,
    looked: Looked,
    *,
    now: datetime = NOW,
    first: datetime | None = None,
    opened: Sequence[datetime] = (),
) -> Doctor:
    async def timeline(_: Tx) -> Timeline:
        return Timeline(first or day(-3), opened)

    check = Check("some.check", "All is well.", looked.find, "None.", by_day=True)
    return Doctor(database, [check], timeline, _Now(now), DataLocation("files", "database"))


@pytest.mark.parametrize(("since_midnight", "settled"), [(rules.SETTLED_AFTER, True), (timedelta(minutes=1), False)])
async def test_verified_and_settled_days_are_not_checked_again(
    database: Database, since_midnight: timedelta, settled: bool
) -> None:
    looked = Looked()
    subject = doctor(database, looked, now=TODAY + since_midnight)
    await subject.examine(Scope())
    everything = [(day(0), None), (day(-1), day(0)), (day(-2), day(-1)), (None, day(-2))]
    assert looked.spans == everything
    looked.spans.clear()
    report = await subject.examine(Scope())
    assert looked.spans == everything[: 1 if settled else 2]
    assert report.diagnoses[0].days_verified == (3 if settled else 2)
    assert report.healthy
    looked.spans.clear()
    await subject.examine(Scope(), full=True)
    assert looked.spans == everything


async def test_a_day_with_findings_is_reported_each_time_and_a_full_check_rechecks_verified_days(
    database: Database,
) -> None:
    looked = Looked()
    looked.broken = {day(-2)}
    subject = doctor(database, looked)
    for _ in range(2):
        assert [finding.subject for finding in (await subject.examine(Scope())).diagnoses[0].findings] == [str(day(-2))]
    looked.broken = set()
    assert (await subject.examine(Scope())).healthy
    looked.broken = {day(-2)}
    assert (await subject.examine(Scope())).healthy, "that day was whole, and is not looked at"
    assert not (await subject.examine(Scope(), full=True)).healthy
    assert not (await subject.examine(Scope())).healthy


async def test_a_day_with_open_rows_is_checked_again(database: Database) -> None:
    looked = Looked()
    subject = doctor(database, looked, opened=[day(-2)])
    await subject.examine(Scope())
    looked.spans.clear()
    await subject.examine(Scope())
    assert (day(-2), day(-1)) in looked.spans


async def test_what_did_not_end_goes_on_at_the_next_call(database: Database) -> None:
    looked = Looked()
    looked.stop_after = 2
    subject = doctor(database, looked, first=day(-9))
    report = await subject.examine(Scope(), seconds_max=2.0)
    assert (report.diagnoses[0].status, report.diagnoses[0].days_left, report.healthy) == ("stopped", 8, False)
    looked.spans.clear()
    looked.stop_after = None
    assert (await subject.examine(Scope())).healthy
    assert (day(-8), day(-7)) in looked.spans
    assert (day(0), None) in looked.spans


async def test_a_tenant_is_spared_what_the_operator_verified_and_verifies_nothing(dsn: str, database: Database) -> None:
    looked = Looked()
    subject = doctor(database, looked)
    principal = Principal(ORG, None, UUID(int=2))
    await subject.ask(principal, Scope())
    assert looked.spans == [(None, None)]
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM doctor_spans") == 0
    await connection.close()
    await subject.examine(Scope())
    looked.spans.clear()
    await subject.ask(principal, Scope())
    assert looked.spans[0][0] in (day(0), day(-1))
    assert len(looked.spans) == 1
    looked.spans.clear()
    await subject.ask(principal, Scope(since=day(-2)))
    assert looked.spans == [(day(-2), None)]


@pytest.mark.parametrize("first", [None, NOW, day(-1), day(-40), day(3)])
def test_days_cover_all_of_time_once(first: datetime | None) -> None:
    found = rules.days(Timeline(first, ()), NOW)
    assert (found[-1].start, found[0].end) == (None, None)
    assert all(later.start == earlier.end for later, earlier in itertools.pairwise(found))
    assert not found[0].settled
    assert rules.joined(found) == [Day(None, None, settled=found[0].settled)]


def test_the_slices_checks_by_day_keep_to_their_days() -> None:
    """Who says `by_day` uses `until`: a check that did not would look at everything each day, and be taken for made."""
    source = Path(rules.__file__).parents[1]
    for path in sorted(source.glob("*/checks.py")):
        text = path.read_text("utf-8")
        assert text.count("stated_by_day(SQL") + text.count("            _false_hashes,") == text.count(
            "by_day=True"
        ), path
