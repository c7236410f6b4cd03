"""Background work of conversations: reads files that a dead node left unread, completes deletions, deletes old
idempotency keys and conversations whose retention has expired."""

import asyncio
from collections.abc import Sequence
from typing import Final

from stoa.conversations.deletions import EXPIRED_MAX, Deletions
from stoa.conversations.reading import Reader
from stoa.conversations.store import SQL
from stoa.db.polls import Poll
from stoa.kernel.clock import Clock
from stoa.kernel.supervise import Supervisor, spread

SWEEP_SECONDS: Final = 5.0
EXPIRY_SECONDS: Final = 300.0


class Housekeeping:
    def __init__(self, reader: Reader, deletions: Deletions, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._deletions = deletions
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._forever, "conversations.housekeeping")
        self._supervisor.keep(self._expire, "conversations.retention")

    async def stop(self) -> None:
        await self._supervisor.stop()
        await self._reader.stop()

    async def _forever(self) -> None:
        while True:
            await self._reader.begin_pending()
            await self._deletions.finish_pending()
            await self._deletions.forget_answers()
            await asyncio.sleep(SWEEP_SECONDS)

    async def _expire(self) -> None:
        while True:
            if await self._deletions.expire(self._clock.now()) < EXPIRED_MAX:
                await asyncio.sleep(spread(EXPIRY_SECONDS))


def polls() -> Sequence[Poll]:
    return [
        Poll("stoa_files_unread", "Files of conversations that are not read yet, of all nodes together.", SQL.unread),
        Poll("stoa_deletions_unproven", "Deletions whose proof is owed, of all nodes together.", SQL.unproven),
    ]
