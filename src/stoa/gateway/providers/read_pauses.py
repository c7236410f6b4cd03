"""Under load a connection is paused after a read, so that the next read takes all data that arrived meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

PAUSE_PARTS: Final = 3
PAUSE_SLACK_SECONDS: Final = 0.001


class Pausable(Protocol):
    """A connection whose reads can be paused; `pause` is false if it cannot be paused now."""

    def pause(self) -> bool: ...

    def resume(self) -> None: ...


class ReadPauses:
    """Under load a connection is paused after a read: the kernel buffers what arrives, and the next read takes all of
    it.

    All connections share one timer. The end of a pause wakes no task; only new data does. Pauses end together, a third
    of the connections at a time, so that one commit stores what they bring.
    """

    def __init__(self, pace: Callable[[], float]) -> None:
        self._pace = pace
        self._paused: deque[tuple[float, Pausable]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, connection: Pausable) -> None:
        seconds = self._pace()
        if seconds > 0 and connection.pause():
            loop, grain = asyncio.get_running_loop(), seconds / PAUSE_PARTS
            end = ceil((loop.time() + seconds) / grain) * grain
            self._paused.append((end, connection))
            if self._timer is None:
                self._timer = loop.call_at(end, self._end)

    def _end(self) -> None:
        """Ends all pauses that are over. The pace changes slowly, so the queue is ordered by their ends."""
        loop, paused = asyncio.get_running_loop(), self._paused
        soon = loop.time() + PAUSE_SLACK_SECONDS
        while paused and paused[0][0] <= soon:
            paused.popleft()[1].resume()
        self._timer = loop.call_at(paused[0][0], self._end) if paused else None
