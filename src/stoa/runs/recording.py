"""Stores the steps of the loop. Every write is fenced: only the node that has claimed the run can store."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.gateway import Usage, spending_refused, spent_usd
from stoa.journal import Fenced, Journal, RunWriter
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import Unavailable
from stoa.kernel.principal import SpendingLimit
from stoa.memory import Recalling
from stoa.runs import rules, store
from stoa.runs.agent.checkpoint import RunCheckpoint
from stoa.runs.agent.steps import Answer, Checkpoint, RunStopped
from stoa.runs.metrics import RunMetrics
from stoa.runs.store import SQL
from stoa.runs.types import Run
from stoa.runs.workflow.state import NodeState

RETRY_SECONDS: Final = 0.25


class Recorder:
    """One per node. A write is fenced by node and attempt, and its events by the writer's epoch."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        node_id: UUID,
        metrics: RunMetrics | None = None,
        recalling: Recalling | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._node_id = node_id
        self._metrics = metrics or RunMetrics()
        self._recalling = recalling

    def allowance(self, run: Run, price: Callable[[Usage], float | None]) -> Callable[[float], Awaitable[None]] | None:
        """Checks the spending limit of the run's key before each model call; None if the key has none."""
        limit = run.options.get("spending_limit")
        if limit is None:
            return None

        async def allow(unbilled_usd: float) -> None:
            priced = price(Usage()) is not None
            spent = await self._spent(run, limit["period"]) + unbilled_usd if priced else 0.0
            if refused := spending_refused(SpendingLimit(**limit), spent, priced=priced):
                raise RunStopped(*refused)

        return allow

    async def _spent(self, run: Run, period: str) -> float:
        """Repeated until the database answers: an outage ends no run."""
        while True:
            try:
                async with internal_statement(self._database) as tx:
                    return await spent_usd(tx, run.org_id, run.created_by, period)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

    async def answers(self, run: Run) -> Mapping[str, Answer]:
        async with internal_statement(self._database) as tx:
            return await store.answers(tx, run.org_id, run.id)

    async def nodes(self, run: Run) -> dict[str, NodeState]:
        """The states of a graph's nodes, by their path."""
        async with internal_statement(self._database) as tx:
            return {path: NodeState.of(state) for path, state in await store.nodes(tx, run)}

    async def record(self, run: Run, writer: RunWriter, state: RunCheckpoint, checkpoint: Checkpoint) -> None:
        """Stores a step in one transaction: events, ledger, questions and the state after it. Raises Fenced."""
        await writer.flush()
        checkpoint.change()
        tried = False

        async def store_once() -> None:
            """Stores a step once. The journal's sequence refuses a repetition of a step with events; a step without
            events would be billed twice."""
            nonlocal tried
            if tried and checkpoint.uses and not checkpoint.events and await self._is_saved(run, writer, state):
                return
            tried = True
            await self._record(run, writer, state, checkpoint)

        await writer.until_stored(store_once)

    async def _is_saved(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> bool:
        """Whether an earlier try was committed although the connection dropped before the acknowledgement."""
        async with internal_statement(self._database) as tx:
            return bool(await tx.fetchval(SQL.is_saved, *self._saved(run, writer, state)))

    async def recover(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> bool:
        """Writes `run.recovered` and bills the usage of the lost attempt, in one transaction; returns whether a model
        had begun to answer. Raises Fenced."""
        spoken = False

        async def recover_once() -> None:
            nonlocal spoken
            spoken = await self._recover(run, writer, state)

        await writer.until_stored(recover_once)
        return spoken

    async def _recover(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> bool:
        # All text after the last completed step is void; a run without completed steps keeps only `run.started`.
        batch = writer.batch(
            [rules.recovered(run.id, run.attempt, max(run.checkpoint_sequence, 1) + 1)], rfc3339(self._clock.now())
        )
        async with internal(self._database) as tx:
            lost = await store.lost(tx, self._journal, run)
            await self._journal.writer.store(tx, batch)
            if lost.use is not None:
                await store.bill(tx, run, [lost.use])
            usage, cost = await store.billed(tx, run)
        self._journal.writer.published(batch)
        self._metrics.recovered.add()
        if lost.use is not None:
            self._metrics.billed([lost.use])
        state.usage, state.cost_usd = usage, cost
        return lost.use is not None and lost.use.usage.completion_tokens > 0

    async def _record(self, run: Run, writer: RunWriter, state: RunCheckpoint, checkpoint: Checkpoint) -> None:
        batch = writer.batch(checkpoint.events, rfc3339(self._clock.now())) if checkpoint.events else None
        async with internal(self._database) as tx:
            if await tx.fetchval(SQL.save_checkpoint, *self._saved(run, writer, state)) is None:
                raise Fenced
            if batch is not None:
                await self._journal.writer.store(tx, batch)
            await store.enter(tx, run, checkpoint.ledger)
            await store.ask(tx, run, checkpoint.requests)
            await store.keep_nodes(tx, run, state.nodes_json(checkpoint.nodes))
            if checkpoint.uses:
                await store.bill(tx, run, checkpoint.uses)
            for said in checkpoint.remember:
                assert self._recalling is not None, "a server whose agents have memories keeps them"
                await self._recalling.keep(tx, run.org_id, run.project_id, run.id, said)
        if batch is not None:
            self._journal.writer.published(batch)
        if checkpoint.uses:
            self._metrics.billed(checkpoint.uses)
        for entry in checkpoint.ledger:
            if entry.status != "begun":
                self._metrics.tools.add(entry.kind, entry.status)

    async def pause(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> bool:
        """Makes the run `paused` until people answer; false if an answer has already arrived. Raises Fenced."""
        await writer.flush()
        try:
            await writer.until_stored(lambda: self._pause(run, writer, state))
        except _Answered:
            return False
        return True

    async def _pause(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> None:
        waited_for = [UUID(call.request_id) for call in state.calls() if call.request_id is not None]
        batch = writer.batch([rules.paused(run.id)], rfc3339(self._clock.now()))
        async with internal(self._database) as tx:
            if await tx.fetchval(SQL.pause, *self._saved(run, writer, state)) is None:
                raise Fenced
            if await tx.fetchval(SQL.unread_answers, run.org_id, run.id, waited_for):
                raise _Answered
            await self._journal.writer.store(tx, batch)
        self._journal.writer.published(batch)

    def _saved(self, run: Run, writer: RunWriter, state: RunCheckpoint) -> tuple[object, ...]:
        """Arguments of `save_checkpoint` and `pause`. The writer has just numbered the step's events."""
        return (run.org_id, run.id, self._node_id, state.as_json(), writer.last_sequence, run.attempt)

    async def hand_over(self, run: Run) -> None:
        """Releases a run between two steps, because this node shuts down. Raises Fenced."""
        async with internal(self._database) as tx:
            if await tx.fetchval(SQL.hand_over, run.org_id, run.id, self._node_id, run.attempt) is None:
                raise Fenced
            await tx.execute("SELECT pg_notify('stoa_runs', 'claim')")

    async def check_held(self, run: Run) -> None:
        """Called before a tool call when this node's lease has expired meanwhile. Raises Fenced if another node has
        claimed the run."""
        async with internal_statement(self._database) as tx:
            if not await tx.fetchval(SQL.still_carried, run.org_id, run.id, self._node_id, run.attempt):
                raise Fenced

    async def let_go(self, run: Run) -> None:
        """Called after a fenced write: if no other node has claimed the run, release it."""
        async with internal(self._database) as tx:
            await tx.execute(SQL.let_go, run.org_id, run.id, self._node_id, run.attempt)


class _Answered(Exception):
    """Somebody answered while the run was being paused."""
