"""Waits for the end of a run, whichever node executes it."""

import asyncio
from uuid import UUID

from stoa.db import Database
from stoa.journal import Journal
from stoa.kernel.errors import Unavailable
from stoa.kernel.leases import RUN
from stoa.kernel.principal import Principal
from stoa.runs import rules, store
from stoa.runs.types import Run, RunStatus


class Listening:
    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def ended(self, principal: Principal, run_id: UUID, *, past_pauses: bool = False) -> Run:
        """The run once it has ended, or waits for people. Raises Unavailable when this node shuts down meanwhile."""
        with self._journal.live.subscribe(run_id) as subscription:
            while True:
                if not self._journal.live.live(run_id):
                    async with self._database.tenant(principal) as tx:
                        run = await store.visible_run(tx, principal.org_id, run_id)
                    if run.status not in rules.ACTIVE or (run.status is RunStatus.PAUSED and not past_pauses):
                        return run
                if subscription.closed:
                    raise Unavailable(f"This node is leaving; the run goes on. Read it at /v1/runs/{run_id}.")
                # A notification of another node may be lost, so the row is polled too.
                poll = asyncio.get_running_loop().call_later(RUN.poll_seconds * 4, subscription.wake)
                await subscription.wait()
                poll.cancel()
