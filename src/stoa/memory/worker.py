"""Background work of memory: verifies deletions that are not verified yet, because their node died or because they
are large."""

from stoa.db.receipts import SWEEP_SECONDS, Receipts
from stoa.kernel.supervise import Supervisor


class Housekeeping:
    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep_every(SWEEP_SECONDS, self._receipts.finish_pending, "memory.deletions")

    async def stop(self) -> None:
        await self._supervisor.stop()
