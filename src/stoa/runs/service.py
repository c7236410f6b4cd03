"""The requests of runs: one method per request, one transaction per method."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from stoa.conversations import RemovedRuns, lock_conversation
from stoa.db import Database, Tx, audit
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal_statement
from stoa.journal import Journal, RunWriter
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.memory import Recalling
from stoa.runs import rules, store
from stoa.runs.agent.ports import Schemas
from stoa.runs.canceling import Canceling
from stoa.runs.ending import RunFinisher
from stoa.runs.listening import Listening
from stoa.runs.metrics import RunMetrics
from stoa.runs.ports import CallbackEntries, Models, Owner, Settle
from stoa.runs.starting import RunStarter, Started
from stoa.runs.store import SQL
from stoa.runs.types import (
    DialectFilter,
    Figure,
    Input,
    InputRequest,
    Outcome,
    RequestType,
    Run,
    RunError,
    RunFilter,
    RunStatus,
    SendMessage,
    ToolCallRow,
)


class Runs:
    def __init__(
        self,
        database: Database,
        journal: Journal,
        models: Models,
        ids: Ids,
        clock: Clock,
        schemas: Schemas,
        metrics: RunMetrics | None = None,
        callbacks: CallbackEntries | None = None,
        recalling: Recalling | None = None,
    ) -> None:
        metrics = metrics or RunMetrics()
        self._database = database
        self._schemas = schemas
        self._callbacks = callbacks
        self._recalling = recalling
        self._ending = RunFinisher(database, journal, ids, clock, metrics, recalling)
        self._listening = Listening(database, journal)
        self._starting = RunStarter(database, journal, models, ids, clock, metrics, callbacks)
        self._canceling = Canceling(database, journal, self._ending, self._listening)

    @property
    def owner(self) -> Owner | None:
        """The worker of this node, set once it exists. Without one, runs wait for another node."""
        return self._starting.owner

    @owner.setter
    def owner(self, owner: Owner | None) -> None:
        self._starting.owner = self._canceling.owner = owner

    # --- beginning and ending ---------------------------------------------------------------------------------------
    async def start(
        self,
        principal: Principal,
        conversation_id: UUID | None,
        send: SendMessage,
        key: IdempotencyKey | None,
        settle: Settle | None = None,
    ) -> Started:
        """Message, run and journal in one transaction, together with the writes of `settle`.

        A busy conversation is refused (Conflict), or the run is queued; an interrupting run becomes the next one and
        cancels the active run.
        """
        started = await self._starting.start(principal, conversation_id, send, key, settle)
        if started.interrupts is not None:
            await self.cancel(principal, started.interrupts, "interrupted")
        return started

    async def cancel(self, principal: Principal, run_id: UUID, reason: str = "user") -> None:
        """Returns once the run has ended; from then on nothing is written to it. No effect on a run that had ended."""
        await self._canceling.cancel(principal, run_id, reason)

    async def finish(self, run: Run, writer: RunWriter, outcome: Outcome) -> None:
        """Records the end. Raises Fenced."""
        await self._ending.finish(run, writer, outcome)

    async def spoken(
        self, run: Run, status: RunStatus, *, error: RunError | None = None, reason: str | None = None
    ) -> Outcome:
        """The outcome of a run without a loop."""
        return await self._ending.outcome_from_database(run, status, error=error, reason=reason)

    # --- reading ----------------------------------------------------------------------------------------------------
    async def get(self, principal: Principal, run_id: UUID) -> Run:
        async with self._database.tenant(principal) as tx:
            return await store.visible_run(tx, principal.org_id, run_id)

    async def list(self, principal: Principal, page: PageRequest, wanted: RunFilter) -> Page[Run]:
        async with self._database.tenant(principal) as tx:
            return await store.list_runs(tx, principal.org_id, page, wanted)

    async def of_dialect(self, principal: Principal, wanted: DialectFilter, limit: int) -> tuple[Sequence[Run], int]:
        """At most `limit` runs, newest first, and how many there are."""
        async with self._database.tenant(principal) as tx:
            return await store.dialect_runs(tx, principal.org_id, wanted, limit)

    async def ended(self, principal: Principal, run_id: UUID) -> Run:
        """The run once it has ended, or waits for people. Raises Unavailable when this node shuts down meanwhile."""
        return await self._listening.ended(principal, run_id)

    async def tool_calls(self, principal: Principal, run_id: UUID) -> Sequence[ToolCallRow]:
        async with self._database.tenant(principal) as tx:
            await store.visible_run(tx, principal.org_id, run_id)
            return await store.tool_calls(tx, principal.org_id, run_id)

    async def figures(
        self, principal: Principal, app_id: UUID, begins: datetime, ends: datetime, seconds: int
    ) -> Sequence[Figure]:
        async with self._database.tenant(principal) as tx:
            return await store.figures(tx, principal.org_id, app_id, begins, ends, seconds, rules.FIGURE_RUNS_MAX)

    async def found(self, org_id: UUID, run_id: UUID) -> Run | None:
        """For the server itself, without row-level security."""
        async with internal_statement(self._database) as tx:
            return await store.run(tx, org_id, run_id)

    async def calls_of_earlier_answers(self, run: Run) -> Sequence[ToolCallRow]:
        """The calls that runs before this one have begun for the same message."""
        async with internal_statement(self._database) as tx:
            return await store.calls_of_earlier_answers(tx, run)

    # --- people -----------------------------------------------------------------------------------------------------
    async def requests(self, principal: Principal, run_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[InputRequest]]:
        """The open questions of runs, by run."""
        async with self._database.tenant(principal) as tx:
            return await store.pending_requests(tx, principal.org_id, run_ids)

    async def answer(self, principal: Principal, run_id: UUID, given: Input) -> None:
        """Stores the first answer. Raises BadRequest for any other, and for an answer that the request does not
        allow."""
        await self._check_fit(principal, run_id, given)
        async with self._database.tenant(principal) as tx:
            run = await store.run_for_update(tx, principal.org_id, run_id)
            if run is None:
                raise store.no_run(run_id)
            if run.status not in (RunStatus.STARTED, RunStatus.PAUSED):
                raise BadRequest(f"This run takes no input: it is {run.status.value}.")
            pending = (await store.pending_requests(tx, principal.org_id, [run_id])).get(run_id, ())
            request = next((one for one in pending if one.id == given.request_id), None)
            if request is None:
                raise BadRequest.field(
                    "data.request_id", "is no open request of this run; it may have been answered already"
                )
            if request.type is not given.type:
                wanted = "approval" if request.type is RequestType.APPROVAL_REQUEST else "human_feedback"
                raise BadRequest.field("type", f"must be {wanted} for this request")
            params = rules.checked_params(request, given.params or {})
            answer = {"approved": given.approved, "feedback": given.feedback, "params": params}
            await tx.execute(SQL.answer_request, principal.org_id, run_id, request.id, answer, principal.key_id)
            if run.status is RunStatus.PAUSED:
                await tx.execute(SQL.resume, principal.org_id, run_id)
                tx.notify("stoa_runs", "claim")
            await audit.record(tx, principal, "run.input", run_id)

    async def _check_fit(self, principal: Principal, run_id: UUID, given: Input) -> None:
        """Checks a person's changed arguments against the schema, before the transaction, because it may take a
        moment."""
        if not given.params:
            return
        async with self._database.tenant(principal) as tx:
            pending = (await store.pending_requests(tx, principal.org_id, [run_id])).get(run_id, ())
        request = next((one for one in pending if one.id == given.request_id), None)
        if request is None or request.schema is None:
            return  # The transaction refuses it.
        changed = rules.checked_params(request, given.params)
        problem = await self._schemas.argument_problem({**request.params, **changed}, request.schema)
        if changed and problem is not None:
            raise rules.misfit(changed, problem)

    # --- dialects ---------------------------------------------------------------------------------------------------
    async def hide(self, principal: Principal, run_id: UUID) -> UUID | None:
        """Hides the run in a dialect. Returns its conversation if that was created for runs which are all hidden now,
        so that nothing refers to it any more."""
        async with self._database.tenant(principal) as tx:
            run = await store.visible_run(tx, principal.org_id, run_id)
            await tx.execute(SQL.hide, principal.org_id, run_id)
            await audit.record(tx, principal, "response.delete", run_id)
            alone = await tx.fetchval(SQL.all_hidden, principal.org_id, run.conversation_id)
            return run.conversation_id if alone else None

    async def unstored(self) -> Sequence[Run]:
        """Of all tenants: ended runs with `store: false`."""
        async with internal_statement(self._database) as tx:
            return [store.from_row(row) for row in await tx.fetch(SQL.unstored)]

    # --- the queue --------------------------------------------------------------------------------------------------
    async def queue(self, principal: Principal, conversation_id: UUID) -> Sequence[Run]:
        """The queued runs, the next one first. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            if await lock_conversation(tx, principal.org_id, conversation_id) is None:
                raise NotFound(f"There is no conversation {conversation_id}.")
            return await store.queued(tx, principal.org_id, conversation_id)

    async def unqueue(self, principal: Principal, conversation_id: UUID, run_id: UUID) -> None:
        """Removes a message from the queue. Raises Conflict if it was already promoted."""
        run = await self.get(principal, run_id)
        if run.conversation_id != conversation_id:
            raise NotFound(f"There is no run {run_id} in the queue of this conversation.")
        if run.queued_at is None:
            raise Conflict(f"This run waits no longer: it is {run.status.value}.")
        await self.cancel(principal, run_id, "removed")

    # --- on behalf of a conversation that is deleted ----------------------------------------------------------------
    async def cancel_active(self, principal: Principal, conversation_id: UUID) -> None:
        await self._canceling.cancel_conversation(principal, conversation_id, "deleted")

    async def active(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> bool:
        return bool(await tx.fetchval(SQL.unended, org_id, conversation_id))

    async def delete(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> RemovedRuns:
        callbacks = {"rows": 0, "bytes": 0}
        if self._callbacks is not None:
            callbacks["rows"], callbacks["bytes"] = await self._callbacks.remove(tx, org_id, conversation_id)
        remembered = await self._recalling.forget(tx, org_id, conversation_id) if self._recalling is not None else {}
        rows = await tx.fetch(SQL.delete_runs, org_id, conversation_id)
        run_ids = [row["id"] for row in rows]
        more = await tx.fetchrow(SQL.delete_run_rows, org_id, run_ids)
        assert more is not None
        others = {
            "tool_calls": {"rows": more["calls"], "bytes": more["call_bytes"]},
            "input_requests": {"rows": more["requests"], "bytes": more["request_bytes"]},
            "run_nodes": {"rows": more["nodes"], "bytes": more["node_bytes"]},
            "model_calls": {"rows": more["bill"], "bytes": 0, "anonymized": True},
        }
        if callbacks["rows"]:
            others["callbacks"] = callbacks
        others |= {name: {"rows": rows, "bytes": size} for name, (rows, size) in remembered.items() if rows}
        return RemovedRuns(run_ids, sum(row["bytes"] for row in rows), others)
