"""One violation of an invariant, as a check reports it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """The organization, the subject (an id, or a blob's name), and what is wrong with it."""

    org_id: UUID
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """`first` is the day (UTC) of the oldest rows, None if there are none; `open_days` have rows that may still
    change."""

    first: datetime | None
    open_days: Collection[datetime]
