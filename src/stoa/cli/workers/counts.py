"""The metrics of all workers, stored by the parent, so that no counter decreases when a worker dies."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoa.kernel.metrics import Counter, Gauge
from stoa.kernel.snapshots import Family, Snapshot, added, merged, snapshot

ANSWER_SECONDS_MAX: Final = 1.0
"""How long a page of metrics waits for a worker; after that it shows the worker's previous counts."""
STATES: Final = ("ready", "starting", "silent")
ENDS: Final = ("drained", "exit", "signal", "stuck")


class Counts:
    def __init__(self) -> None:
        self._latest: dict[int, Snapshot] = {}
        self._ended: Snapshot = ()
        self._waiting: dict[int, list[asyncio.Event]] = {}
        self._ends = Counter(
            "stoa_worker_ends",
            "Workers that ended without the server (with --workers), and were started again.",
            ("how",),
            [(how,) for how in ENDS],
        )

    def received(self, place: int, families: Snapshot) -> None:
        """Stores a worker's counts. They are never older than the previous ones."""
        self._latest[place] = families
        for event in self._waiting.pop(place, ()):
            event.set()

    def ended(self, place: int, how: str | None) -> None:
        """The worker's process has ended. Its last counts are still shown. `how` is None while the server stops."""
        self._ended = added(self._ended, self._latest.pop(place, ()))
        for event in self._waiting.pop(place, ()):
            event.set()
        if how is not None:
            self._ends.add(how)

    def page(self, asked: int, answered: Sequence[int], states: Mapping[str, int]) -> list[Family]:
        """The metrics of all workers. `asked` is the worker that got the request, `answered` those with new counts."""
        fresh = {place: self._latest[place] for place in answered}
        stale = [families for place, families in self._latest.items() if place not in fresh]
        workers = Gauge(
            "stoa_workers",
            "Workers of this server (with --workers); silent ones did not answer this scrape in time.",
            lambda: {(state,): states.get(state, 0) for state in STATES},
            ("state",),
        )
        whole: list[Any] = merged(fresh, asked, stale=stale, ended=self._ended)
        return [*whole, *snapshot([workers, self._ends])]

    async def answers(self, places: Sequence[int]) -> list[int]:
        """Waits for new counts of these workers. Returns the workers that have answered in time."""
        events = {place: asyncio.Event() for place in places}
        for place, event in events.items():
            self._waiting.setdefault(place, []).append(event)
        waits = [asyncio.create_task(event.wait()) for event in events.values()]
        if waits:
            await asyncio.wait(waits, timeout=ANSWER_SECONDS_MAX)
        for wait in waits:
            wait.cancel()
        return [place for place, event in events.items() if event.is_set() and place in self._latest]
