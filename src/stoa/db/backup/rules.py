"""Which backups are kept, when the next one is due, and when it is overdue. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim, CronSimError

from stoa.db.backup.types import BackupError, Keep

STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
LATE: Final = timedelta(hours=1)
"""A backup that was due and is not there counts as missed after so long: it may still be under way."""
_PERIODS: Final[Sequence[tuple[str, str]]] = (("daily", "%Y-%m-%d"), ("weekly", "%G-%V"), ("monthly", "%Y-%m"))


def taken_at(identity: str) -> datetime:
    """The moment that the id of a backup begins with."""
    return datetime.strptime(identity.partition("-")[0], STAMP).replace(tzinfo=UTC)


def newest(identities: Sequence[str], now: datetime) -> str | None:
    """The last one that is not of the future: a clock that was ahead when one was taken must not make it the newest
    until that day comes."""
    return max(
        (one for one in identities if taken_at(one) <= now + LATE), key=lambda one: (taken_at(one), one), default=None
    )


def kept(identities: Sequence[str], keep: Keep, just: str | None = None) -> Sequence[str]:
    """Those that stay: the last ones, and the newest of each of the last days, weeks and months (UTC) that have one;
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
    """Why this is no schedule, or None."""
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
    """When the next backup is due (UTC): at once where there is none yet. May lie in the past."""
    return now if newest is None else next(CronSim(schedule, newest))


def overdue(schedule: str, newest: datetime | None, now: datetime) -> str | None:
    """Why somebody has to look, or None."""
    if newest is None:
        return "there is no backup yet"
    due = due_at(schedule, newest, now)
    if now < due + LATE:
        return None
    return f"the last backup is of {newest:%Y-%m-%d %H:%M} UTC, the next one was due at {due:%Y-%m-%d %H:%M} UTC"


def stamp(moment: datetime, random_hex: Callable[[], str]) -> str:
    """The id of a backup."""
    utc = moment.astimezone(UTC)
    # To the millisecond: the order of two backups that follow at once is that of their ids.
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03}Z-{random_hex()}"


def check_identity(text: str) -> str:
    """Raises BackupError for what is no id of a backup."""
    try:
        taken_at(text)
    except ValueError:
        raise BackupError(f"{text!r} is no id of a backup, such as 20261130T030000.000Z-1a2b3c4d.") from None
    return text
