"""Under load a connection is paused after a read, so that the next read takes all data that arrived meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

REST_PARTS: Final = 3
REST_SLACK_SECONDS: Final = 0.001


class Resting(Protocol):
    """A connection whose reads can be paused; `pause` is false if it cannot be paused now."""

    def pause(self) -> bool: ...

    def resume(self) -> None: ...


class Rests:
    """Under load a connection that was just read is left alone for a while: the kernel gathers what comes, and one read
    takes it all.

    All connections share one timer, and nobody is woken at the end of a rest, only when there is something to read.
    Rests end
    together, a third of the connections at a time, so that what they bring is written down together.
    """

    def __init__(self, pace: Callable[[], float]) -> None:
        self._pace = pace
        self._resting: deque[tuple[float, Resting]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def let(self, wire: Resting) -> None:
        seconds = self._pace()
        if seconds > 0 and wire.pause():
            loop, grain = asyncio.get_running_loop(), seconds / REST_PARTS
            end = ceil((loop.time() + seconds) / grain) * grain
            self._resting.append((end, wire))
            if self._timer is None:
                self._timer = loop.call_at(end, self._end)

    def _end(self) -> None:
        """Of all rests that are over. The pace changes slowly, so they stand in order."""
        loop, resting = asyncio.get_running_loop(), self._resting
        soon = loop.time() + REST_SLACK_SECONDS
        while resting and resting[0][0] <= soon:
            resting.popleft()[1].resume()
        self._timer = loop.call_at(resting[0][0], self._end) if resting else None
