"""Removes expired traces in small batches, on every node."""

import asyncio
from typing import Final

from stoa.kernel.supervise import Supervisor, spread
from stoa.traces.service import EXPIRED_MAX, Retention

LOOK_SECONDS: Final = 300.0


class RetentionWorker:
    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._forever, "traces.retention")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def _forever(self) -> None:
        while True:
            if await self._retention.remove_expired() < EXPIRED_MAX:
                await asyncio.sleep(spread(LOOK_SECONDS))
