"""When a schedule is due. Pure: the caller brings the present moment.

A schedule that names hours (`30 2 * * *`, `0 */2 * * *`) follows local time. A due time that daylight saving skips
moves to the first valid minute after the gap, and a repeated one fires at its first occurrence. A schedule of every
hour (`*/15 * * * *`) follows elapsed time: it does not pause for a repeated hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from stoa.kernel.clock import rfc3339
from stoa.triggers.types import CatchUp, Schedule

BATCH: Final = 100
"""Due times that one transaction processes."""
GRACE: Final = timedelta(seconds=60)
"""A due time that passed longer ago than this was missed."""
_NO_ZONES: Final = ("local", "localtime", "posixrules", "factory")
"""Files of a zone database that name no place."""
_EVERY_HOUR: Final = frozenset(range(24))


def timezone_problem(name: str) -> str | None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "is no time zone of the IANA database, such as Europe/Berlin"
    return "must name a zone: this one is whatever the server has" if name.lower() in _NO_ZONES else None


def cron_problem(expression: str) -> str | None:
    """Why the schedule is invalid, or None."""
    if len(expression.split()) != 5:
        return "must be the five fields of cron (minute hour day month weekday), such as 0 9 * * 1"
    try:
        next(_CronTimes(expression, datetime(2026, 1, 1)))  # noqa: DTZ001 — the clock on a wall
    except CronSimError as error:
        return f"is no cron expression: {error}"
    except StopIteration:
        return "never comes due"
    return None


def at_once_or_later(local: datetime, timezone: str) -> datetime:
    """A time without an offset, as the zone's clock shows it."""
    return _instant(local, ZoneInfo(timezone))


def instants(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The due times after `after`, in UTC, in order, each once; none from `expires_at` on."""
    last = after
    for instant in _cron(schedule, after) if schedule.run_at is None else (schedule.run_at,):
        if schedule.expires_at is not None and instant >= schedule.expires_at:
            return
        if instant > last:
            last = instant
            yield instant


def next_instant(schedule: Schedule, after: datetime) -> datetime | None:
    return next(instants(schedule, after), None)


class _CronTimes:
    """Times that match, on a clock without a zone."""

    def __init__(self, expression: str, after: datetime) -> None:
        self._times = CronSim(expression, after)

    def __iter__(self) -> Iterator[datetime]:
        return self

    def __next__(self) -> datetime:
        try:
            return next(self._times)
        except OverflowError as error:  # The year 10000.
            raise StopIteration from error


def _cron(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    assert schedule.cron is not None, "the other schedule has one instant"
    zone = ZoneInfo(schedule.timezone)
    local = after.astimezone(zone)
    fields = schedule.cron.split()
    if CronSim(schedule.cron, datetime(2026, 1, 1)).hours >= _EVERY_HOUR:  # noqa: DTZ001 — only its fields are read
        fields[1] = "*"
        return (one.astimezone(UTC) for one in _CronTimes(" ".join(fields), local))
    return (_instant(one, zone) for one in _CronTimes(schedule.cron, local.replace(tzinfo=None)))


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first UTC time with this local time; if it does not exist, the end of the gap."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    # PEP 495: in a gap, fold 0 reads the offset of before, so it lies after the gap; fold 1 lies before it.
    before = int(local.replace(tzinfo=zone, fold=1).timestamp())
    after = int(instant.timestamp())
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """The result for a due schedule. `complete`: it reached the present; otherwise there are more due times."""

    fire: list[datetime]
    missed: list[datetime]
    """Missed due times that are skipped."""
    next_at: datetime | None
    complete: bool


def plan(schedule: Schedule, due: datetime, now: datetime) -> Plan:
    """`due` is the schedule's stored next due time, which has passed."""
    coming = chain([due], instants(schedule, due))
    past = list(islice(takewhile(lambda one: one <= now, coming), BATCH + 1))
    complete = len(past) <= BATCH
    next_at = next_instant(schedule, past[-1]) if complete and past else past[BATCH] if past else due
    past = past[:BATCH]
    match schedule.catch_up:
        case CatchUp.ALL:
            fire = past
        case CatchUp.LAST:
            fire = past[-1:] if complete else []
        case CatchUp.SKIP:
            fire = [one for one in past if now - one <= GRACE]
    return Plan(fire, past[: len(past) - len(fire)], next_at, complete)


def payload(schedule: Schedule, moment: datetime) -> dict[str, str]:
    """What an event of a schedule holds."""
    local = moment.astimezone(ZoneInfo(schedule.timezone))
    return {
        "scheduled_at": rfc3339(moment),
        "local_time": local.isoformat(timespec="seconds"),
        "timezone": schedule.timezone,
    }
