"""Cancels a run: by the node that executes it or, if there is none or it does not answer, by fencing off its writer."""

import asyncio
from typing import Final
from uuid import UUID

from stoa.db import Database, audit
from stoa.db.internal import internal
from stoa.journal import Fenced, Journal
from stoa.kernel.errors import Unavailable
from stoa.kernel.principal import Principal
from stoa.runs import rules, store
from stoa.runs.ending import RunFinisher
from stoa.runs.listening import Listening
from stoa.runs.ports import Owner
from stoa.runs.store import SQL
from stoa.runs.types import Run, RunStatus

RETRY_SECONDS: Final = 0.25
FENCES_MAX: Final = 20
"""How many times one cancel fences a run off before it fails with 503."""


class Canceling:
    def __init__(self, database: Database, journal: Journal, ending: RunFinisher, listening: Listening) -> None:
        self._database = database
        self._journal = journal
        self._ending = ending
        self._listening = listening
        self.owner: Owner | None = None

    async def cancel(self, principal: Principal, run_id: UUID, reason: str) -> None:
        """Returns once the run has ended; nothing is written to it afterwards. No effect on a run that had ended."""
        async with self._database.tenant(principal) as tx:
            run = await store.visible_run(tx, principal.org_id, run_id)
            if run.status not in rules.ACTIVE:
                return
            await tx.execute(SQL.want_cancel, principal.org_id, run_id, reason)
            await audit.record(tx, principal, "run.cancel", run_id)
            elsewhere = run.node_id is not None and self.owner is not None and run.node_id != self.owner.node_id
            if elsewhere:
                tx.notify("stoa_runs", f"cancel {run_id} {reason}")
        if self.owner is not None and await self.owner.cancel(run_id, reason):
            return
        if elsewhere:
            try:
                async with asyncio.timeout(rules.CANCEL_WAIT_SECONDS):
                    await self._listening.ended(principal, run_id, past_pauses=True)
                    return
            except TimeoutError:
                pass
        await self._end_by_force(run, reason)

    async def cancel_conversation(self, principal: Principal, conversation_id: UUID, reason: str) -> None:
        """Cancels every run of it, the queued ones first, because the end of the active run would promote one of
        them."""
        async with self._database.tenant(principal) as tx:
            waiting = await store.queued(tx, principal.org_id, conversation_id)
        for run in waiting:
            await self.cancel(principal, run.id, reason)
        async with self._database.tenant(principal) as tx:
            run_id = await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        if run_id is not None:
            await self.cancel(principal, run_id, reason)

    async def _end_by_force(self, run: Run, reason: str) -> None:
        for _ in range(FENCES_MAX):
            try:
                if await self._fence_and_end(run, reason):
                    return
            except (
                Fenced
            ):  # Another node claimed it at the same moment. It reads `cancel_reason` and may end the run first.
                await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable("This run keeps changing its node; cancel it again in a moment.")

    async def _fence_and_end(self, run: Run, reason: str) -> bool:
        """True once it has ended, by this call or by another node. Raises Fenced when another node has claimed it.

        Its node may be alive. Raising the journal's epoch fences off its events; `take_from_node` fences off its
        checkpoints, so no call can begin after the state that is read here.
        """
        async with internal(self._database) as tx:
            current = await store.run_for_update(tx, run.org_id, run.id)
            if current is None or current.status not in rules.ACTIVE:
                return True
            await tx.execute(SQL.take_from_node, run.org_id, run.id)
            head = await self._journal.take(tx, run.key)
        outcome = await self._ending.outcome_from_database(current, RunStatus.CANCELED, reason=reason)
        writer, last = await self._journal.resume(run.key, head)
        if last is None:
            writer.write(rules.started(current.id, current.conversation_id, current.message_id))
        await self._ending.finish(current, writer, outcome)
        # A node that claimed it in between is fenced off: it closes its model's call.
        self._database.notifier.send([("stoa_runs", f"cancel {run.id} {reason}")])
        return True
