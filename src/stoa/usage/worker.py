"""Keeps the stored sums of the bill up to date: sums each full hour as soon as no line can be added to it. Runs on
every node; a row lock lets one node at a time do the work."""

import asyncio
from typing import Final

from stoa.db import Database
from stoa.db.internal import internal
from stoa.kernel.supervise import Supervisor, spread
from stoa.usage import store

LOOK_SECONDS: Final = 60.0
"""How often to look for a full hour to sum. Until then reports read its lines, with the same result."""


class Summing:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._forever, "usage.summing")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def catch_up(self) -> None:
        """Sums everything that can be summed, one day per transaction."""
        while await self._step():
            pass

    async def _step(self) -> bool:
        async with internal(self._database) as tx:
            return await store.sum_more(tx)

    async def _forever(self) -> None:
        while True:
            await self.catch_up()
            await asyncio.sleep(spread(LOOK_SECONDS))
