"""The common part of translators: each takes a run's events once, in order, and returns frames. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from stoa.events import StoredEvent


class Translator(ABC):
    """Takes every event of a run once, in order."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []

    def take(self, events: Sequence[StoredEvent]) -> list[dict[str, Any]]:
        """The frames of these events. Events of subagents are not part of the answer."""
        self._made = []
        for event in events:
            if "source" not in event.data:
                self._take(event)
        return self._made

    @abstractmethod
    def _take(self, event: StoredEvent) -> None:
        """Appends the frames of one event to `_made`."""
