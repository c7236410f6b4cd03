"""Gauges that are read from the database (queue lengths of all nodes together), at each scrape but at most once a
second."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stoa.db.engine import Database
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unavailable
from stoa.kernel.metrics import Gauge, Labels, Metric
from stoa.kernel.supervise import Supervisor

FRESH_SECONDS: Final = 1.0
ANSWER_SECONDS_MAX: Final = 2.0
"""The timeout of a scrape's query; after it these gauges are missing, and `stoa_database_up` is 0."""


@dataclass(slots=True)
class Poll:
    """`statement` gives one row for each set of labels, in their order, and last a `count`: zeros too."""

    name: str
    says: str
    statement: str
    labels: Labels = ()
    values: Mapping[Labels, float] = field(default_factory=dict[Labels, float])

    def read(self) -> Mapping[Labels, float]:
        return self.values


class Polls:
    def __init__(self, database: Database, polls: Sequence[Poll], clock: Clock) -> None:
        self._database = database
        self._polls = polls
        self._clock = clock
        self._supervisor = Supervisor()
        self._asking: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._up = False

    def metrics(self) -> Sequence[Metric]:
        up = Gauge("stoa_database_up", "1 when the database answered at this scrape.", lambda: self._up, across="same")
        return [up, *(Gauge(poll.name, poll.says, poll.read, poll.labels, "same") for poll in self._polls)]

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def refresh(self) -> None:
        """Concurrent scrapes share one query."""
        if self._asked_at is not None and self._clock.monotonic() - self._asked_at < FRESH_SECONDS:
            return
        if self._asking is None or self._asking.done():
            self._asking = self._supervisor.once(self._ask(), "db.polls")
        # A separate task, because while the database is frozen even cancelling a query waits.
        await asyncio.wait([self._asking], timeout=ANSWER_SECONDS_MAX)
        if not self._asking.done():
            self._settle(())

    async def _ask(self) -> None:
        found: list[Mapping[Labels, float]] = []
        try:
            async with internal(self._database) as tx:
                for poll in self._polls:
                    rows = await tx.fetch(poll.statement)
                    found.append({tuple(row)[:-1]: row["count"] for row in rows})
        except Unavailable:
            found.clear()
        self._asked_at = self._clock.monotonic()
        self._settle(found)

    def _settle(self, found: Sequence[Mapping[Labels, float]]) -> None:
        self._up = bool(found)
        for poll, values in zip(self._polls, found or [{} for _ in self._polls], strict=True):
            poll.values = values
