"""How a run ends: last events, terminal event, seal, the assistant's message, state and bill, in one transaction."""

from collections.abc import Sequence

import structlog

from stoa.conversations import lock_conversation, text_of
from stoa.db import Database, Raised, Tx, Unstorable
from stoa.db.internal import internal
from stoa.events import Event, TextDelta, Unencodable
from stoa.journal import Batch, Fenced, Journal, RunWriter
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.ids import Ids
from stoa.memory import Recalling
from stoa.runs import rules, store
from stoa.runs.agent.checkpoint import RunCheckpoint, client_names, turns_json
from stoa.runs.agent.remembering import conversed, memory_of
from stoa.runs.ends import EndBatcher
from stoa.runs.metrics import RunMetrics
from stoa.runs.store import SQL
from stoa.runs.turns import give_turn
from stoa.runs.types import Outcome, Run, RunError, RunStatus

_log = structlog.get_logger("stoa.runs")


class RunFinisher:
    def __init__(
        self,
        database: Database,
        journal: Journal,
        ids: Ids,
        clock: Clock,
        metrics: RunMetrics,
        recalling: Recalling | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._recalling = recalling
        self._ends = EndBatcher(database)

    async def finish(self, run: Run, writer: RunWriter, outcome: Outcome) -> None:
        """The terminal event, the seal, the assistant's message and the state, in one transaction. Raises Fenced.

        Repeated until it is committed, because an end must not be lost. An end with values that the database cannot
        store becomes `failed`, with everything that can be stored.
        """
        try:
            unstored = await writer.take()
            try:
                await writer.until_stored(lambda: self._finish(run, writer, unstored, outcome))
            except (Unencodable, Unstorable) as refusal:
                _log.error("run has an end that cannot be stored", run_id=str(run.id), error=str(refusal))
                outcome = rules.made_storable(outcome, refusal)
                await writer.until_stored(lambda: self._finish(run, writer, (), outcome))
            self._metrics.ended(outcome)
        finally:
            self._journal.writer.release(writer)

    async def _finish(
        self, run: Run, writer: RunWriter, unstored: Sequence[Event | TextDelta], outcome: Outcome
    ) -> None:
        """`unstored`: the run's events that no tick has stored."""
        timestamp = rfc3339(self._clock.now())
        batch = writer.batch(unstored, timestamp)
        batch.extend(
            writer.batch(
                [rules.terminal(run.id, outcome, writer.last_sequence, writer.digest.hexdigest())], timestamp, seal=True
            )
        )
        try:
            if not (_ends_alone(run, outcome) and await self._end_alone(run, batch, outcome)):
                await self._end(run, batch, outcome)
        except Raised as refusal:
            if refusal.reason != "fenced":
                raise
            writer.settle(stored=False)
            raise Fenced from None
        self._journal.writer.published(batch)
        if run.options.get("callbacks"):
            self._database.notifier.send([("stoa_callbacks", "")])

    async def _end_alone(self, run: Run, batch: Batch, outcome: Outcome) -> bool:
        """The usual end, in one statement, which other runs may share. False, without a write, if other runs are
        queued. Raises Raised."""
        try:
            await self._ends.end(self._ending(run, batch, outcome, alone=True))
            return True
        except Raised as refusal:
            if refusal.reason == "queue":
                return False
            raise

    async def _end(self, run: Run, batch: Batch, outcome: Outcome) -> None:
        """The end with its further effects. Raises Raised."""
        async with internal(self._database) as tx:
            waiting = run.queued_at is not None and await self._waits(tx, run)
            # The lock order is conversation, run, journal.
            queue = await tx.fetchval(SQL.end_run, *self._ending(run, batch, outcome, alone=False, waiting=waiting))
            await store.spend(tx, run, outcome.uses)
            if run.options.get("workflow"):
                await tx.execute(SQL.end_graph, run.org_id, run.id, outcome.result)
            if outcome.turns or run.options.get("agent") or run.options.get("workflow"):
                await tx.execute(SQL.close_requests, run.org_id, run.id)
                await tx.execute(SQL.close_calls, run.org_id, run.id)
            if run.options.get("agent") and outcome.status is RunStatus.COMPLETED:
                await self._remember(tx, run, outcome)
            if queue and not waiting:
                await give_turn(
                    tx, run.org_id, run.conversation_id
                )  # In the transaction that ends the previous run, so that no promotion can be lost.

    async def _remember(self, tx: Tx, run: Run, outcome: Outcome) -> None:
        """Stores the answer in the memory of a conversation's agent. Nodes of a graph do so at their own end."""
        question = text_of(run.input["content"])
        said = conversed(run, memory_of(run), "", question, outcome.output, outcome.turns)
        if said is None:
            return
        assert self._recalling is not None, "a server whose agents have memories keeps them"
        await self._recalling.keep(tx, run.org_id, run.project_id, run.id, said)
        if run.options.get("regenerates"):
            await self._recalling.replaced(tx, run.org_id, run.id)

    def _ending(
        self, run: Run, batch: Batch, outcome: Outcome, *, alone: bool, waiting: bool = False
    ) -> tuple[object, ...]:
        """`waiting`: a message that was never promoted has no position in the history and no answer."""
        return (
            run.org_id,
            run.id,
            run.conversation_id,
            None if waiting else self._ids.new(),
            outcome.status.value,
            outcome.output,
            [{"type": "text", "text": outcome.output}],
            outcome.error.as_json() if outcome.error else None,
            outcome.usage,
            outcome.turns,
            store.uses_json(outcome.uses),
            alone,
            batch.writer.epoch,
            batch.base,
            *batch.columns(),
        )

    async def _waits(self, tx: Tx, run: Run) -> bool:
        """Whether the run is still queued. Locks the conversation, as promotions do."""
        await lock_conversation(tx, run.org_id, run.conversation_id)
        current = await store.run_for_update(tx, run.org_id, run.id)
        return current is not None and current.queued_at is not None

    async def outcome_from_database(
        self, run: Run, status: RunStatus, *, error: RunError | None = None, reason: str | None = None
    ) -> Outcome:
        """The outcome of a run without a loop: its stored steps, and the events after them."""
        state = RunCheckpoint.of(run.checkpoint)
        async with internal(self._database) as tx:
            lost = await store.lost(tx, self._journal, run)
            usage, cost = await store.billed(tx, run)
        uses = () if lost.use is None else (lost.use,)
        for use in uses:
            usage += use.usage
        return Outcome(
            status,
            state.agent.text + lost.said,
            rules.usage_json(usage, cost),
            error,
            reason,
            turns_json(state.agent, client_names(run.options)),
            uses,
        )


def _ends_alone(run: Run, outcome: Outcome) -> bool:
    """Whether its end changes nothing else: it is not queued, has no open question or call, and no spending limit."""
    return run.queued_at is None and not (
        outcome.turns or run.options.get("agent") or run.options.get("workflow") or run.options.get("spending_limit")
    )
