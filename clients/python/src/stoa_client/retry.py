"""Decides whether to retry, and after how long. Pure: the time and the random number are arguments."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

REFUSED_FOR_NOW: Final = frozenset({429, 503})
"""The server has not processed the request, so any request may be repeated."""
BROKEN: Final = frozenset({408, 500, 502, 504})
"""The server may have processed the request, so only safe requests are repeated."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of retries. `attempts` counts the attempts of one call, including the first. A broken stream is resumed
    until nothing was received for `reconnect_seconds`. `idle_seconds` is how long a connection may be silent (the
    server sends a heartbeat every 15 s). A Retry-After above `retry_after_seconds_max` is an error.
    """

    attempts: int = 5
    first_seconds: float = 0.25
    seconds_max: float = 8.0
    retry_after_seconds_max: float = 60.0
    reconnect_seconds: float = 120.0
    idle_seconds: float = 45.0

    def delay(self, failures: int, retry_after: float | None, dice: float) -> float:
        """Seconds before the next attempt: exponential backoff, half of it random (`dice`, 0 to 1), but at least
        Retry-After."""
        backoff = min(self.first_seconds * 2 ** min(failures - 1, 30), self.seconds_max)
        jittered = backoff / 2 + backoff / 2 * dice
        return jittered if retry_after is None else retry_after + min(jittered, self.first_seconds)

    def repeats(self, status: int, *, safe: bool, retry_after: float | None) -> bool:
        """Whether to retry after a response with this status. A 409 is retried if it has Retry-After."""
        if retry_after is not None and retry_after > self.retry_after_seconds_max:
            return False
        if status in REFUSED_FOR_NOW:
            return safe or retry_after is not None
        if status == 409:
            return retry_after is not None
        return safe and status in BROKEN


def retry_after_of(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds of the header, which has a number or a date. None if it cannot be parsed."""
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), 1e9)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - (now or datetime.now(UTC))).total_seconds(), 0.0)
