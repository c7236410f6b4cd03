"""Pure decisions about reports: the fields to group by, the days covered, and when stored sums suffice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from stoa.kernel.errors import BadRequest
from stoa.usage.types import Filter, Granularity, Span, Sums

GROUPS: Final = (
    "day",
    "model",
    "key_id",
    "project_id",
    "user_id",
    "conversation_id",
    "run_id",
    "kind",
    "knowledgebase_id",
)
SORTABLE: Final = {
    name: name
    for name in (
        "day",
        "model",
        "calls",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "reasoning_tokens",
        "cost_usd",
    )
}
DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366
"""A report by conversation, run or user reads every line of its days, which takes seconds for a year of a busy
project."""
SUMMED: Final = frozenset({"day", "model", "key_id", "project_id", "kind"})
"""The fields that the stored sums of hours and days have."""
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def groups(asked: str | None) -> tuple[str, ...]:
    """Raises BadRequest naming the fields that a report can group by."""
    if asked is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in names:
        if name not in GROUPS:
            raise BadRequest.field("group_by", f"cannot be {name!r}; use {', '.join(GROUPS)}, separated by commas")
    return names


def days(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """By default the last thirty days. Raises BadRequest."""
    end = end or now + timedelta(seconds=1)
    start = start or end - timedelta(days=DAYS_DEFAULT)
    if start >= end:
        raise BadRequest.field("from", "must be before `to`")
    if end - start > timedelta(days=DAYS_MAX):
        raise BadRequest.field("from", f"is more than {DAYS_MAX} days before `to`; ask for shorter spans")
    return start, end


def summed(which: Filter, groups: Sequence[str]) -> bool:
    """Whether the stored sums suffice, because the report uses no field that only the lines have."""
    only_lines = (which.conversation_id, which.run_id, which.user_id, which.knowledgebase_id)
    return SUMMED.issuperset(groups) and all(value is None for value in only_lines)


def sums(which: Filter, groups: Sequence[str], *, whole: bool) -> Sums:
    """The smallest set of sums that answers a report. `whole` means that the caller sees every project."""
    if not whole or which.project_id is not None or "project_id" in groups:
        return Sums.PROJECTS
    return Sums.KEYS if which.key_id is not None or "key_id" in groups else Sums.ORGANIZATION


def spans(start: datetime, end: datetime, summed_until: datetime) -> Sequence[Span]:
    """Splits a time range into whole days and hours that have sums, and the rest, whose lines are read. Every moment
    is in exactly one span.

    `summed_until` is a full hour; the sums contain everything before it.
    """
    first_hour, last_hour = _ceiling(start, _HOUR), _floor(min(end, summed_until), _HOUR)
    if first_hour >= last_hour:
        return [Span(Granularity.LINE, start, end)]
    found = [Span(Granularity.LINE, start, first_hour), Span(Granularity.LINE, last_hour, end)]
    first_day, last_day = _ceiling(first_hour, _DAY), _floor(last_hour, _DAY)
    if first_day < last_day:
        found += [
            Span(Granularity.HOUR, first_hour, first_day),
            Span(Granularity.DAY, first_day, last_day),
            Span(Granularity.HOUR, last_day, last_hour),
        ]
    else:
        found.append(Span(Granularity.HOUR, first_hour, last_hour))
    return [span for span in found if span.start < span.end]


def full_hour(moment: datetime) -> datetime:
    """The start of the hour that a moment is in."""
    return _floor(moment, _HOUR)


def _floor(moment: datetime, width: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % width


def _ceiling(moment: datetime, width: timedelta) -> datetime:
    return moment + (_EPOCH - moment) % width
