"""Who uses a key: when, from where, with which client. Kept in memory, and written every half minute by each node."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stoa.db import Database, load
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unavailable
from stoa.kernel.origin import ORIGIN
from stoa.kernel.supervise import Supervisor, spread

SQL: Final = load("stoa.access", "keys.sql")
WRITE_SECONDS: Final = 30.0
KEPT_MAX: Final = 20
"""Pairs of address and client that are kept of a key."""
KEPT: Final = timedelta(days=90)
WAITING_MAX: Final = 10_000
"""Pairs in memory; beyond them the oldest key's are as good as seen."""

_Use = tuple[UUID, UUID, str, str]
"""Organization, key, address, client."""


class KeyUses:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._supervisor = Supervisor()
        self._seen: dict[_Use, tuple[datetime, datetime]] = {}

    def saw(self, org_id: UUID, key_id: UUID) -> None:
        """A request with this key was admitted. Costs a look into a dictionary."""
        origin = ORIGIN.get()
        if origin is None:
            return
        now = self._clock.now()
        use = (org_id, key_id, origin.address or "", origin.client or "")
        known = self._seen.get(use)
        if known is not None or len(self._seen) < WAITING_MAX:
            self._seen[use] = (known[0] if known else now, now)

    async def start(self) -> None:
        self._supervisor.keep(self._write_forever, "access.uses")

    async def stop(self) -> None:
        await self._supervisor.stop()
        with suppress(Unavailable):
            await self.write()

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(spread(WRITE_SECONDS))
            with suppress(Unavailable):
                await self.write()

    async def write(self) -> None:
        """Stores what this node has seen; what cannot be stored now is kept."""
        if not self._seen:
            return
        seen, self._seen = self._seen, {}
        rows = [(*use, *times) for use, times in seen.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        try:
            async with internal(self._database) as tx:
                await tx.execute(SQL.store_uses, *columns)
                before = self._clock.now() - KEPT
                await tx.execute(SQL.prune_uses, list({use[1] for use in seen}), KEPT_MAX, before)
        except Unavailable:
            for use, (first, last) in seen.items():
                later = self._seen.get(use)
                self._seen[use] = (first, later[1] if later else last)
            raise
