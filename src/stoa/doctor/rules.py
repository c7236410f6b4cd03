"""Pure decisions of the doctor: how time is cut into days, and which days need not be checked again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from stoa.doctor.types import Day
from stoa.kernel.findings import Timeline

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stored as the start of the first day, which has none."""
SETTLED_AFTER: Final = timedelta(hours=1)
"""A day is checked again until this long after its end, because clocks differ and transactions take time."""


def days(timeline: Timeline, now: datetime) -> Sequence[Day]:
    """All days (UTC) from the first rows on, the newest first; the first has no start and the last has no end."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = min(timeline.first or now, now).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = [first + timedelta(days=number) for number in range(1, (today - first).days + 1)]
    found: list[Day] = []
    for start, end in zip([None, *bounds], [*bounds, None], strict=True):
        opened = [day for day in timeline.open_days if (start is None or day >= start) and (end is None or day < end)]
        found.append(Day(start, end, settled=end is not None and end + SETTLED_AFTER <= now and not opened))
    return found[::-1]


def unverified(found: Sequence[Day], verified: Mapping[datetime, datetime]) -> Sequence[Day]:
    """Those that are not in `verified`, which gives the end of each verified day by its start."""
    return [day for day in found if day.end is None or verified.get(day.start or BEGINNING, BEGINNING) < day.end]


def joined(found: Sequence[Day]) -> Sequence[Day]:
    """Joins days that follow one another, for checks that are not remembered by day; newest first, as given."""
    merged: list[Day] = []
    for day in found:
        adjacent = bool(merged) and merged[-1].start == day.end
        merged.append(Day(day.start, merged.pop().end, settled=False) if adjacent else day)
    return merged
