"""Background work of skills: verifies deletions that a dead node left unverified."""

from stoa.db.receipts import SWEEP_SECONDS, Receipts
from stoa.kernel.supervise import Supervisor


class Housekeeping:
    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep_every(SWEEP_SECONDS, self._receipts.finish_pending, "skills.deletions")

    async def stop(self) -> None:
        await self._supervisor.stop()
