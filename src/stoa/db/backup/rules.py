"""Which backups are kept, when the next one is due, and when it is overdue. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim, CronSimError

from stoa.db.backup.types import BackupError, Keep

STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
LATE: Final = timedelta(hours=1)
"""A due backup counts as missed after this time; until then it may be running."""
_PERIODS: Final[Sequence[tuple[str, str]]] = (("daily", "%Y-%m-%d"), ("weekly", "%G-%V"), ("monthly", "%Y-%m"))


def taken_at(identity: str) -> datetime:
    """The time at the start of a backup's id."""
    return datetime.strptime(identity.partition("-")[0], STAMP).replace(tzinfo=UTC)


def newest(identities: Sequence[str], now: datetime) -> str | None:
    """The latest backup that is not in the future: one that was taken while the clock was ahead must not count as the
    newest until its time has come."""
    return max(
        (one for one in identities if taken_at(one) <= now + LATE), key=lambda one: (taken_at(one), one), default=None
    )


def kept(identities: Sequence[str], keep: Keep, just: str | None = None) -> Sequence[str]:
    """The backups that stay: the last ones, the newest of each of the last days, weeks and months (UTC) that have one,
    and the one that was `just` taken, whatever the clocks say."""
    newest_first = sorted(identities, key=lambda one: (taken_at(one), one), reverse=True)
    if keep.everything:
        return newest_first
    chosen = {*newest_first[: max(1, keep.last)], just}
    for period, pattern in _PERIODS:
        firsts: dict[str, str] = {}
        for one in newest_first:
            firsts.setdefault(taken_at(one).strftime(pattern), one)
        chosen.update(list(firsts.values())[: getattr(keep, period)])
    return [one for one in newest_first if one in chosen]


def schedule_problem(expression: str) -> str | None:
    """Why the schedule is invalid, or None."""
    if len(expression.split()) != 5:
        return "must be the five fields of cron (minute hour day month weekday), such as 0 3 * * *"
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"is no cron expression: {error}"
    except StopIteration:
        return "never comes due"
    return None


def due_at(schedule: str, newest: datetime | None, now: datetime) -> datetime:
    """When the next backup is due (UTC), possibly in the past; at once where there is none yet."""
    return now if newest is None else next(CronSim(schedule, newest))


def overdue(schedule: str, newest: datetime | None, now: datetime) -> str | None:
    """Why an operator should look at the backups, or None."""
    if newest is None:
        return "there is no backup yet"
    due = due_at(schedule, newest, now)
    if now < due + LATE:
        return None
    return f"the last backup is of {newest:%Y-%m-%d %H:%M} UTC, the next one was due at {due:%Y-%m-%d %H:%M} UTC"


def stamp(moment: datetime, random_hex: Callable[[], str]) -> str:
    """The id of a backup."""
    utc = moment.astimezone(UTC)
    # With milliseconds, so that ids of consecutive backups sort in order.
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03}Z-{random_hex()}"


def check_identity(text: str) -> str:
    """Raises BackupError for an invalid id of a backup."""
    try:
        taken_at(text)
    except ValueError:
        raise BackupError(f"{text!r} is no id of a backup, such as 20261130T030000.000Z-1a2b3c4d.") from None
    return text
