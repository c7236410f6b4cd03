"""The uses of keys: time, address, client. Collected in memory, and written every half minute by each node."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stoa.db import Database, load
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unavailable
from stoa.kernel.origin import ORIGIN
from stoa.kernel.supervise import Supervisor

SQL: Final = load("stoa.access", "keys.sql")
WRITE_SECONDS: Final = 30.0
KEPT_MAX: Final = 20
"""Pairs of address and client that are kept of a key."""
KEPT: Final = timedelta(days=90)
KEYS_MAX: Final = 10_000
"""Keys with uses in memory; uses of further keys are ignored until the next write."""


class KeyUses:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._supervisor = Supervisor()
        self._seen: dict[tuple[UUID, UUID], dict[tuple[str, str], tuple[datetime, datetime]]] = {}
        """By organization and key: address and client, first and last time."""

    def saw(self, org_id: UUID, key_id: UUID) -> None:
        """Records an admitted request of this key. Costs one dictionary look-up."""
        origin = ORIGIN.get()
        if origin is None:
            return
        now = self._clock.now()
        places = self._seen.get((org_id, key_id))
        if places is None:
            if len(self._seen) >= KEYS_MAX:
                return
            places = self._seen[org_id, key_id] = {}
        place = (origin.address or "", origin.client or "")
        first, _ = places.pop(place, (now, now))  # Moved to the end, so the first is the least recently used.
        if len(places) >= KEPT_MAX:
            del places[next(iter(places))]
        places[place] = (first, now)

    async def start(self) -> None:
        self._supervisor.keep_every(WRITE_SECONDS, self.write, "access.uses")

    async def stop(self) -> None:
        await self._supervisor.stop()
        with suppress(Unavailable):
            await self.write()

    async def write(self) -> None:
        """Stores the uses seen by this node; if that fails they are kept."""
        if not self._seen:
            return
        seen, self._seen = self._seen, {}
        rows = [(*key, *place, *times) for key, places in seen.items() for place, times in places.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        try:
            async with internal(self._database) as tx:
                await tx.execute(SQL.store_uses, *columns)
                before = self._clock.now() - KEPT
                await tx.execute(SQL.prune_uses, *map(list, zip(*seen, strict=True)), KEPT_MAX, before)
        except Unavailable:
            for key, places in seen.items():
                self._seen[key] = {**places, **self._seen.get(key, {})}
            raise
