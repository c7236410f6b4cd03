"""How much of a rate limit is left: the headers of each response to a limited caller."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket of one minute's requests that refills evenly. `busy_seconds`: until it is full again."""

    limit: int
    busy_seconds: float

    @property
    def step_seconds(self) -> float:
        """The time in which one request is refilled."""
        return WINDOW_SECONDS / self.limit

    @property
    def remaining(self) -> int:
        return max(int((WINDOW_SECONDS - self.busy_seconds) / self.step_seconds + 1e-6), 0)

    @property
    def retry_after_seconds(self) -> int:
        """Until the next request is admitted; at least one second, because clients wait whole seconds."""
        return max(ceil(self.busy_seconds + self.step_seconds - WINDOW_SECONDS), 1)

    def headers(self) -> Mapping[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(ceil(self.busy_seconds)),
        }
