"""What every translator of a run's events does: it takes them once, in order, and gives frames. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from stoa.events import StoredEvent


class Translator(ABC):
    """Give it every event of a run once, in order."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []

    def take(self, events: Sequence[StoredEvent]) -> list[dict[str, Any]]:
        """The frames of these events. What a subagent does is no part of the answer."""
        self._made = []
        for event in events:
            if "source" not in event.data:
                self._take(event)
        return self._made

    @abstractmethod
    def _take(self, event: StoredEvent) -> None:
        """Adds the frames of one event to `_made`."""
