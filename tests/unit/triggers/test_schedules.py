"""Due instants: across shifts of daylight saving, in zones of every kind, and after downtime."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from stoa.triggers import schedules
from stoa.triggers.types import CatchUp, Schedule

ZONES = (
    "UTC", "America/New_York", "America/Santiago", "Asia/Beirut", "Australia/Lord_Howe", "Africa/Casablanca",
)  # fmt: skip
EXPRESSIONS = ("0,30 2 * * *", "0 0 * * *", "15 0-3 * * 6,0", "*/20 1-3 * * *", "0 */2 * * *", "7 23 L * *")
CASES = [*((zone, "30 2 * * *") for zone in ZONES), *(("Europe/Berlin", one) for one in EXPRESSIONS)]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def local(expression: str, zone: str, after: datetime, count: int) -> list[str]:
    schedule = Schedule(zone, expression)
    found = islice(schedules.instants(schedule, after), count)
    return [one.astimezone(ZoneInfo(zone)).isoformat()[:22] for one in found]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # The skipped hour of spring: at the first valid minute after it, once, whatever the expression names in it.
        ("30 2 * * *", "Europe/Berlin", at(2026, 3, 28, 12), ["2026-03-29T03:00:00+02", "2026-03-30T02:30:00+02"]),
        ("0,30 2 * * *", "Europe/Berlin", at(2026, 3, 28, 12), ["2026-03-29T03:00:00+02", "2026-03-30T02:00:00+02"]),
        ("0 2,3 * * *", "Europe/Berlin", at(2026, 3, 28, 12), ["2026-03-29T03:00:00+02", "2026-03-30T02:00:00+02"]),
        ("*/30 2 * * *", "Europe/Berlin", at(2026, 3, 28, 12), ["2026-03-29T03:00:00+02", "2026-03-30T02:00:00+02"]),
        # The doubled hour of autumn: at its first occurrence alone.
        ("30 2 * * *", "Europe/Berlin", at(2026, 10, 24, 12), ["2026-10-25T02:30:00+02", "2026-10-26T02:30:00+01"]),
        ("*/30 2 * * *", "Europe/Berlin", at(2026, 10, 25, 0), ["2026-10-25T02:30:00+02", "2026-10-26T02:00:00+01"]),
        # Asked in the second occurrence, the first is past.
        ("30 2 * * *", "Europe/Berlin", at(2026, 10, 25, 1, 10), ["2026-10-26T02:30:00+01", "2026-10-27T02:30:00+01"]),
        # Every hour goes by elapsed time.
        ("30 * * * *", "Europe/Berlin", at(2026, 10, 25, 0), ["2026-10-25T02:30:00+02", "2026-10-25T02:30:00+01"]),
        ("0 * * * *", "Europe/Berlin", at(2026, 3, 29, 0, 30), ["2026-03-29T03:00:00+02", "2026-03-29T04:00:00+02"]),
        ("0 0-23 * * *", "Europe/Berlin", at(2026, 10, 25, 0), ["2026-10-25T02:00:00+01", "2026-10-25T03:00:00+01"]),
        # Zones that shift at midnight, by half an hour, and by a day.
        ("0 0 * * *", "America/Santiago", at(2026, 9, 5, 12), ["2026-09-06T01:00:00-03", "2026-09-07T00:00:00-03"]),
        ("15 2 * * *", "Australia/Lord_Howe", at(2026, 10, 3), ["2026-10-04T02:30:00+11", "2026-10-05T02:15:00+11"]),
        ("0 9 * * *", "Pacific/Apia", at(2011, 12, 30, 0), ["2011-12-31T00:00:00+14", "2011-12-31T09:00:00+14"]),
        ("0 0 29 2 *", "Europe/Berlin", at(2026, 1, 1), ["2028-02-29T00:00:00+01", "2032-02-29T00:00:00+01"]),
    ],
)  # fmt: skip
def test_instants_across_a_shift(expression: str, zone: str, after: datetime, expected: list[str]) -> None:
    assert local(expression, zone, after, 2) == expected


@pytest.mark.parametrize(("zone", "expression"), CASES)
def test_instants_rise_and_do_not_depend_on_where_the_count_begins(zone: str, expression: str) -> None:
    """What a node computes after each firing is what one count from the beginning gives, over a year of shifts."""
    schedule, begin, end = Schedule(zone, expression), at(2026, 1, 1), at(2027, 1, 1)
    counted = []
    for one in schedules.instants(schedule, begin):
        if one >= end:
            break
        counted.append(one)
    assert all(earlier < later for earlier, later in pairwise(counted))
    days = {one.astimezone(ZoneInfo(zone)).date() for one in counted}
    if expression == "30 2 * * *":
        assert len(days) in (364, 365, 366)  # Every day, on the shifting ones too.
        assert len(counted) == len(days)
    zone_of = ZoneInfo(zone)
    offsets = [one.astimezone(zone_of).utcoffset() for one in counted]
    shifts = [index for index, (before, after) in enumerate(pairwise(offsets)) if before != after]
    for index in {near for shift in shifts for near in range(max(shift - 4, 0), shift + 5)} & set(
        range(len(counted) - 1)
    ):
        assert schedules.next_instant(schedule, counted[index]) == counted[index + 1]
        assert schedules.next_instant(schedule, counted[index] - timedelta(seconds=1)) == counted[index]


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "0 0 31 4,6,9,11 *",
     "*/0 * * * *", "a b c d e", "0 0 0 * *", "1-0 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_is_said(expression: str) -> None:
    assert schedules.cron_problem(expression)


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "local", "posixrules", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b", "x" * 300],
)
def test_what_is_no_zone_is_said(name: str) -> None:
    assert schedules.timezone_problem(name)


def test_a_time_without_an_offset_is_the_zones() -> None:
    def read(*parts: int) -> str:
        return schedules.at_once_or_later(datetime(*parts), "Europe/Berlin").isoformat()  # type: ignore[arg-type,misc]  # noqa: DTZ001

    assert read(2026, 6, 1, 9) == "2026-06-01T07:00:00+00:00"
    assert read(2026, 3, 29, 2, 30) == "2026-03-29T01:00:00+00:00"  # Skipped: the first valid minute.
    assert read(2026, 10, 25, 2, 30) == "2026-10-25T00:30:00+00:00"  # Doubled: the first.


# --- after downtime -------------------------------------------------------------------------------------------------
def planned(catch_up: CatchUp, due: datetime, now: datetime, **fields: object) -> schedules.Plan:
    return schedules.plan(Schedule("UTC", "* * * * *", catch_up=catch_up, **fields), due, now)  # type: ignore[arg-type]


def test_on_time_every_policy_fires() -> None:
    due = at(2026, 6, 1, 9)
    for catch_up in CatchUp:
        plan = planned(catch_up, due, due + timedelta(milliseconds=700))
        assert (plan.fire, plan.missed, plan.next_at) == ([due], [], due + timedelta(minutes=1))


def test_what_was_missed_is_skipped_run_once_or_run_all() -> None:
    due = at(2026, 6, 1, 9)
    now = due + timedelta(minutes=10, seconds=30)
    last = due + timedelta(minutes=10)
    skip, one, every = (planned(catch_up, due, now) for catch_up in (CatchUp.SKIP, CatchUp.LAST, CatchUp.ALL))
    assert skip.fire == [last]  # Half a minute late is on time.
    assert len(skip.missed) == 10
    assert (one.fire, len(one.missed)) == ([last], 10)
    assert (len(every.fire), every.missed) == (11, [])
    assert {plan.next_at for plan in (skip, one, every)} == {due + timedelta(minutes=11)}
    daily = Schedule("UTC", "0 9 * * *", catch_up=CatchUp.SKIP)
    plan = schedules.plan(daily, due, now)
    assert (plan.fire, plan.missed, plan.next_at) == ([], [due], due + timedelta(days=1))


def test_a_long_downtime_is_dealt_with_in_pieces() -> None:
    due = at(2026, 6, 1, 9)
    now = due + timedelta(hours=5, seconds=1)
    for catch_up, fired in ((CatchUp.SKIP, 1), (CatchUp.LAST, 1), (CatchUp.ALL, 301)):
        at_, fire, missed = due, [], []
        for _ in range(4):
            plan = planned(catch_up, at_, now)
            fire += plan.fire
            missed += plan.missed
            assert plan.next_at is not None
            at_ = plan.next_at
            if plan.complete:
                break
        assert len(fire) == fired
        assert len(fire) + len(missed) == 301
        assert at_ == due + timedelta(hours=5, minutes=1)


def test_nothing_comes_due_from_the_expiry_on() -> None:
    due, ends = at(2026, 6, 1, 9), at(2026, 6, 1, 9, 2)
    plan = planned(CatchUp.ALL, due, at(2026, 6, 1, 10), expires_at=ends)
    assert plan.fire == [due, due + timedelta(minutes=1)]
    assert plan.next_at is None
    once = Schedule("UTC", run_at=due)
    assert schedules.plan(once, due, due).fire == [due]
    assert schedules.plan(once, due, due).next_at is None
    assert schedules.plan(once, due, due - timedelta(seconds=1)).next_at == due
