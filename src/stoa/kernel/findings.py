"""One broken promise, as whoever looks for them finds it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """Whose, of what (an id, or a blob's name), and in which way."""

    org_id: UUID
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """`first` is the day (UTC) of the oldest rows, None where there are none; on `open_days` something was made that may still change."""

    first: datetime | None
    open_days: Collection[datetime]
