"""Pure decisions about reports: what one may group by, and which days they cover."""

from datetime import datetime, timedelta
from typing import Final

from stoa.kernel.errors import BadRequest

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
"""A report reads every line of its days: a year of a busy project is some seconds."""


def groups(asked: str | None) -> tuple[str, ...]:
    """Raises BadRequest naming what one may group by."""
    if asked is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in names:
        if name not in GROUPS:
            raise BadRequest.field("group_by", f"cannot be {name!r}; use {', '.join(GROUPS)}, separated by commas")
    return names


def days(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The last thirty days unless said otherwise. Raises BadRequest."""
    end = end or now + timedelta(seconds=1)
    start = start or end - timedelta(days=DAYS_DEFAULT)
    if start >= end:
        raise BadRequest.field("from", "must be before `to`")
    if end - start > timedelta(days=DAYS_MAX):
        raise BadRequest.field("from", f"is more than {DAYS_MAX} days before `to`; ask for shorter spans")
    return start, end
