"""Time, as an argument. Everything that needs the time takes a `Clock`, so that a test can fix it."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(moment: datetime) -> str:
    """`2026-06-10T09:11:02.123Z`: UTC, milliseconds, as every timestamp of the API (contract section 2)."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:23]}Z"
