"""Deletes runs that clients did not want stored (`store: false`), soon after their end; any node deletes them."""

from contextlib import suppress
from typing import Final

from stoa.conversations import Conversations
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor
from stoa.runs import Runs

SECONDS: Final = 30.0


class Sweeper:
    def __init__(self, runs: Runs, conversations: Conversations) -> None:
        self._runs = runs
        self._conversations = conversations
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep_every(SECONDS, self.sweep, "dialects.sweep")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def sweep(self) -> int:
        """Returns how many runs were deleted. Two nodes may do it at once: the second finds nothing."""
        gone = 0
        for run in await self._runs.unstored():
            with suppress(NotFound):
                await self._conversations.delete(
                    Principal(run.org_id, run.project_id, run.created_by or run.id), run.conversation_id
                )
                gone += 1
        return gone
