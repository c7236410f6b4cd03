"""Runs as their owners use them, and the transactions in which they begin and end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from stoa.conversations import Place, RemovedRuns, hold, resolve_content, take_question, text_of
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal
from stoa.journal import Batch, Fenced, Journal, JournalKey, RunWriter
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import BadRequest, Conflict, NotFound, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.leases import RUN
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import rules, store
from stoa.runs.agent import builtin
from stoa.runs.ending import Ending
from stoa.runs.metrics import RunMetrics
from stoa.runs.store import SQL
from stoa.runs.types import (
    Input,
    InputRequest,
    Outcome,
    RequestType,
    Run,
    RunError,
    RunStatus,
    SendMessage,
    ToolCallRow,
)

RETRY_SECONDS: Final = 0.25
QUEUE_MAX: Final = 100
"""Messages of a conversation that wait for their turn: more is a client that does not listen."""
FENCES_MAX: Final = 20
"""Nodes that one cancel takes a run from before it gives up."""


class Models(Protocol):
    """What runs ask of the gateway before they begin."""

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` when whose transaction this is may not use it, or it cannot be used just now."""
        ...


Preparation: TypeAlias = asyncio.Task[Any]
"""What was begun for a run before its start is committed: reading alone, so that nothing is left of it when the start fails."""


class Owner(Protocol):
    """The worker of this node, as the service sees it."""

    @property
    def node_id(self) -> UUID: ...

    def reserve(self, project_id: UUID | None) -> bool:
        """Takes a place for a run of this project that is about to begin, where there is one. None: not known yet."""
        ...

    def unreserve(self, project_id: UUID | None) -> None:
        """Gives the place back: the run has taken one of its own by `adopt`, or did not begin."""
        ...

    def prepare(self, run: Run) -> Preparation:
        """Begins to collect what the run's model is to read, while the transaction that starts the run goes on."""
        ...

    def adopt(self, run: Run, writer: RunWriter, prepared: Preparation) -> None:
        """Carries a run whose start was just committed."""
        ...

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        """Ends a run that this node carries; true once its terminal event is committed."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    run: Run
    first: bool
    """False for a repetition: the run began with an earlier request of the same Idempotency-Key."""
    interrupts: UUID | None = None
    """The run that was under way and is to end for this one."""


class Runs:
    def __init__(
        self,
        database: Database,
        journal: Journal,
        models: Models,
        ids: Ids,
        clock: Clock,
        tally: RunMetrics | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._models = models
        self._ids = ids
        self._clock = clock
        self._tally = tally or RunMetrics()
        self._ending = Ending(database, journal, ids, clock, self._tally)
        self.owner: Owner | None = None
        """Set by the composition root once the worker exists; without one, runs wait for another node."""

    # --- beginning --------------------------------------------------------------------------------------------------
    async def start(
        self, principal: Principal, conversation_id: UUID, send: SendMessage, once: IdempotencyKey | None
    ) -> Started:
        """Message, run and journal in one transaction; where this node has room, `run.started` too.

        A busy conversation is refused (Conflict), or the run waits for its turn; an interrupting one has the next turn, and ends the run under way.
        """
        started = await self._start(principal, conversation_id, send, once)
        if started.interrupts is not None:
            await self.cancel(principal, started.interrupts, "interrupted")
        return started

    async def _start(
        self, principal: Principal, conversation_id: UUID, send: SendMessage, once: IdempotencyKey | None
    ) -> Started:
        owner = self.owner if self.owner is not None and self.owner.reserve(principal.project_id) else None
        try:
            return await self._start_on(owner, principal, conversation_id, send, once)
        finally:
            if owner is not None:
                owner.unreserve(principal.project_id)

    async def _start_on(
        self,
        owner: Owner | None,
        principal: Principal,
        conversation_id: UUID,
        send: SendMessage,
        once: IdempotencyKey | None,
    ) -> Started:
        begun = _Begun()
        try:
            async with self._database.tenant(principal) as tx:
                if once and (answer := await idempotency.claim(tx, principal, once)):
                    return Started(await _one(tx, principal, UUID(answer["run_id"])), first=False)
                run, interrupts = await self._begin(tx, principal, conversation_id, send, owner, begun)
                if once:
                    await idempotency.record(tx, principal, once, {"run_id": str(run.id)}, run.id)
        except BaseException:
            if begun.journal is not None:
                self._journal.writer.release(begun.journal[0])
            if begun.prepared is not None:
                begun.prepared.cancel()
            raise
        assert begun.journal is not None, "a run that has begun has a journal"
        pen, batch = begun.journal
        if owner is None or begun.prepared is None:
            self._journal.writer.release(pen)
        else:
            self._journal.writer.published(batch)
            owner.adopt(run, pen, begun.prepared)
        self._tally.begun.add(
            "queued" if run.queued_at is not None else "left" if begun.prepared is None else "carried"
        )
        return Started(run, first=True, interrupts=interrupts)

    async def _begin(
        self,
        tx: Tx,
        principal: Principal,
        conversation_id: UUID,
        send: SendMessage,
        owner: Owner | None,
        begun: "_Begun",
    ) -> tuple[Run, UUID | None]:
        """The run, and the one that it interrupts. Whatever is to be undone when the transaction fails is left in `begun`."""
        # Most messages need not hold the conversation first: adding them does, and what is refused then goes with the transaction.
        place = None if _plain(send) else await self._place(tx, principal, conversation_id, send)
        active = (
            None if send.on_busy == "reject" else await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        )
        if place is not None and send.regenerate:
            # It reads the history up to the message that it answers once more, so no earlier answer to it.
            question = await take_question(tx, principal.org_id, conversation_id, place, model_id=send.model_id)
            new = _NewRun(
                self._ids.new(), question.id, question.position, question.content, send.model_id, _options(send)
            )
        else:
            if active is not None:
                await self._check_queue(tx, principal, conversation_id)
            content = await resolve_content(tx, principal, conversation_id, send.content)
            new = _NewRun(self._ids.new(), self._ids.new(), None, content, send.model_id, _options(send), send.metadata)
            if active is not None:  # Its message takes its place in the history when its turn comes.
                asked = {"model_id": str(send.model_id) if send.model_id else None, "metadata": send.metadata}
                new = replace(
                    new,
                    position=0,
                    options={**new.options, **asked},
                    queued=True,
                    interrupting=send.on_busy == "interrupt",
                )
                owner = None
        run = await self._insert(tx, principal, conversation_id, new, owner, begun)
        if place is None:
            await self._models.check(tx, run.model_id)
        if owner is not None:
            begun.prepared = owner.prepare(run)
        if new.interrupting:
            await tx.execute(SQL.interrupt, principal.org_id, conversation_id, run.id)
        return run, active if new.interrupting else None

    async def _place(self, tx: Tx, principal: Principal, conversation_id: UUID, send: SendMessage) -> Place:
        """The conversation, held until the transaction ends. Raises what can be refused before anything is written."""
        place = await hold(tx, principal.org_id, conversation_id)
        if place is None:
            raise _no_conversation(conversation_id)
        _check_place(place, send)
        if (model_id := send.model_id or place.model_id) is not None:
            await self._models.check(tx, model_id)
        return place

    async def _check_queue(self, tx: Tx, principal: Principal, conversation_id: UUID) -> None:
        waiting = len(await store.queued(tx, principal.org_id, conversation_id))
        if waiting >= QUEUE_MAX:
            raise Conflict(f"This conversation's queue is full: {waiting} messages wait for their turn.")

    async def _insert(
        self, tx: Tx, principal: Principal, conversation_id: UUID, new: "_NewRun", owner: Owner | None, begun: "_Begun"
    ) -> Run:
        """One statement. Raises NotFound and Conflict; what was written before it goes with the transaction."""
        first = [rules.started(new.id, conversation_id, new.message_id)] if owner is not None else []
        _, batch = begun.journal = self._journal.begin(
            JournalKey(principal.org_id, new.id), first, rfc3339(self._clock.now())
        )
        limit = principal.spending_limit
        row = await tx.fetchrow(
            SQL.begin_run,
            principal.org_id,
            conversation_id,
            new.id,
            new.message_id,
            new.position,
            new.model_id,
            new.content,
            text_of(new.content),
            new.metadata,
            {**new.options, "spending_limit": asdict(limit)} if limit is not None else new.options,
            owner.node_id if owner else None,
            principal.key_id,
            new.queued,
            new.interrupting,
            *batch.columns(),
        )
        if row is not None and row["id"] is not None:
            return store.from_row(row)
        active = await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        raise _no_conversation(conversation_id) if active is None else _busy(active)

    async def queue(self, principal: Principal, conversation_id: UUID) -> Sequence[Run]:
        """The runs that wait for their turn, the next one first. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            if await hold(tx, principal.org_id, conversation_id) is None:
                raise NotFound(f"There is no conversation {conversation_id}.")
            return await store.queued(tx, principal.org_id, conversation_id)

    async def unqueue(self, principal: Principal, conversation_id: UUID, run_id: UUID) -> None:
        """Takes a message out of the queue. Raises Conflict when its turn has come already."""
        async with self._database.tenant(principal) as tx:
            run = await _one(tx, principal, run_id)
        if run.conversation_id != conversation_id:
            raise NotFound(f"There is no run {run_id} in the queue of this conversation.")
        if run.queued_at is None:
            raise Conflict(f"This run waits no longer: it is {run.status.value}.")
        await self.cancel(principal, run_id, "removed")

    # --- reading ----------------------------------------------------------------------------------------------------
    async def get(self, principal: Principal, run_id: UUID) -> Run:
        async with self._database.tenant(principal) as tx:
            return await _one(tx, principal, run_id)

    async def list(
        self,
        principal: Principal,
        page: PageRequest,
        *,
        statuses: Sequence[str] | None,
        conversation_id: UUID | None,
        user_id: str | None,
    ) -> Page[Run]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_runs(
                tx, principal.org_id, page, statuses=statuses, conversation_id=conversation_id, user_id=user_id
            )
        return Page(found, page.page, page.page_size, total)

    async def ended(self, principal: Principal, run_id: UUID, *, past_pauses: bool = False) -> Run:
        """The run once it has ended, or waits for people. Raises Unavailable when this node is leaving meanwhile."""
        with self._journal.tails.subscribe(run_id) as ear:
            while True:
                if not self._journal.tails.live(run_id):
                    run = await self.get(principal, run_id)
                    if run.status not in rules.ACTIVE or (run.status is RunStatus.PAUSED and not past_pauses):
                        return run
                if ear.closed:
                    raise Unavailable(
                        "This node is leaving; the run goes on. Read it at /v1/runs/{id}.".replace("{id}", str(run_id))
                    )
                nudge = asyncio.get_running_loop().call_later(RUN.poll_seconds * 4, ear.nudge)
                await ear.wait()
                nudge.cancel()

    # --- cancelling -------------------------------------------------------------------------------------------------
    async def cancel(self, principal: Principal, run_id: UUID, reason: str = "user") -> None:
        """Returns once the run has ended: from then on nothing is written to it. Nothing happens to a run that had ended."""
        async with self._database.tenant(principal) as tx:
            run = await _one(tx, principal, run_id)
            if run.status not in rules.ACTIVE:
                return
            await tx.execute(SQL.want_cancel, principal.org_id, run_id, reason)
            if run.node_id is not None and self.owner is not None and run.node_id != self.owner.node_id:
                await tx.execute("SELECT pg_notify('stoa_runs', $1)", f"cancel {run_id} {reason}")
        if self.owner is not None and await self.owner.cancel(run_id, reason):
            return
        if run.node_id is not None and self.owner is not None and run.node_id != self.owner.node_id:
            try:
                async with asyncio.timeout(rules.CANCEL_WAIT_SECONDS):
                    await self.ended(principal, run_id, past_pauses=True)
                    return
            except TimeoutError:
                pass
        await self.end_by_force(run, reason)

    async def end_by_force(self, run: Run, reason: str) -> None:
        """Ends a run that nobody carries, or whose owner does not answer: fences it off, then records the end. Returns once it has ended."""
        for _ in range(FENCES_MAX):
            try:
                if await self._end_by_force(run, reason):
                    return
            except Fenced:  # Another node took it up at the same moment. It knows of the intent and may end it first; a short while is its own.
                await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable("This run keeps changing hands; cancel it again in a moment.")

    async def _end_by_force(self, run: Run, reason: str) -> bool:
        """True once it has ended, by this or by others. Raises Fenced when another node has it now."""
        async with internal(self._database) as tx:
            current = await store.run_for_update(tx, run.org_id, run.id)
            if current is None or current.status not in rules.ACTIVE:
                return True
            head = await self._journal.take(tx, run.key)
        outcome = await self.spoken(current, RunStatus.CANCELED, reason=reason)
        pen, last = await self._journal.resume(run.key, head)
        if last is None:
            pen.write(rules.started(current.id, current.conversation_id, current.message_id))
        await self.finish(current, pen, outcome)
        async with internal(
            self._database
        ) as tx:  # Whoever took it up in between has been fenced off, and closes its model's call now.
            await tx.execute("SELECT pg_notify('stoa_runs', $1)", f"cancel {run.id} {reason}")
        return True

    async def cancel_active(self, principal: Principal, conversation_id: UUID) -> None:
        async with self._database.tenant(principal) as tx:
            waiting = await store.queued(tx, principal.org_id, conversation_id)
        for run in waiting:  # First: the end of the active run would give one of them its turn.
            await self.cancel(principal, run.id, "deleted")
        async with self._database.tenant(principal) as tx:
            run_id = await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        if run_id is not None:
            await self.cancel(principal, run_id, "deleted")

    # --- ending -----------------------------------------------------------------------------------------------------
    async def finish(self, run: Run, pen: RunWriter, outcome: Outcome) -> None:
        """Records the end. Raises Fenced."""
        await self._ending.finish(run, pen, outcome)

    async def spoken(
        self, run: Run, status: RunStatus, *, error: RunError | None = None, reason: str | None = None
    ) -> Outcome:
        """The outcome of a run whose loop is gone."""
        return await self._ending.spoken(run, status, error=error, reason=reason)

    # --- people -----------------------------------------------------------------------------------------------------
    async def requests(self, principal: Principal, run_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[InputRequest]]:
        """The open questions of runs, by run."""
        async with self._database.tenant(principal) as tx:
            return await store.pending_requests(tx, principal.org_id, run_ids)

    async def answer(self, principal: Principal, run_id: UUID, given: Input) -> None:
        """The first answer counts. Raises BadRequest for any other, and for what the request does not allow."""
        async with self._database.tenant(principal) as tx:
            run = await store.run_for_update(tx, principal.org_id, run_id)
            if run is None:
                raise NotFound(f"There is no run {run_id}.")
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
                await tx.execute("SELECT pg_notify('stoa_runs', 'claim')")
            await audit.record(tx, principal, "run.input", run_id)

    async def tool_calls(self, principal: Principal, run_id: UUID) -> Sequence[ToolCallRow]:
        async with self._database.tenant(principal) as tx:
            await _one(tx, principal, run_id)
            return await store.tool_calls(tx, principal.org_id, run_id)

    # --- deleting, on behalf of a conversation ----------------------------------------------------------------------
    async def active(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> bool:
        return bool(await tx.fetchval(SQL.unended, org_id, conversation_id))

    async def delete(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> RemovedRuns:
        rows = await tx.fetch(SQL.delete_runs, org_id, conversation_id)
        run_ids = [row["id"] for row in rows]
        more = await tx.fetchrow(SQL.delete_run_rows, org_id, run_ids)
        assert more is not None
        others = {
            "tool_calls": {"rows": more["calls"], "bytes": more["call_bytes"]},
            "input_requests": {"rows": more["requests"], "bytes": more["request_bytes"]},
            "model_calls": {"rows": more["bill"], "bytes": 0, "anonymized": True},
        }
        return RemovedRuns(run_ids, sum(row["bytes"] for row in rows), others)


@dataclass(frozen=True, slots=True)
class _NewRun:
    """A run that is about to begin. `position` None: its message is new; 0: it waits for its turn."""

    id: UUID
    message_id: UUID
    position: int | None
    content: Sequence[Mapping[str, Any]]
    model_id: UUID | None
    options: Mapping[str, Any]
    metadata: Mapping[str, Any] | None = None
    queued: bool = False
    interrupting: bool = False


@dataclass(slots=True)
class _Begun:
    """What was begun beside a transaction: undone with it."""

    journal: tuple[RunWriter, Batch] | None = None
    prepared: Preparation | None = None


def _no_conversation(conversation_id: UUID) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id}.")


def _busy(run_id: UUID) -> Conflict:
    way_out = f"wait for it, cancel it (POST /v1/runs/{run_id}/cancel), or send on_busy=queue or interrupt"
    return Conflict(f"This conversation is busy with run {run_id}; {way_out}.", details={"active_run_id": str(run_id)})


def _plain(send: SendMessage) -> bool:
    """Whether nothing of it has to be looked up before it is written: no turn to wait for, no model, no tool, no file."""
    plain = send.on_busy == "reject" and not send.regenerate and send.model_id is None and send.tools is None
    return plain and all(part["type"] == "text" for part in send.content)


def _check_place(place: Place, send: SendMessage) -> None:
    """Raises BadRequest naming what this conversation does not allow."""
    if place.app_id is not None and send.model_id is not None:
        raise BadRequest.field(
            "model_id", "cannot be set: this conversation is bound to an app, which brings its own model"
        )
    for index, name in enumerate(send.tools or ()):
        if not builtin.named(name, (place.agent or {}).get("tools", ())):
            raise BadRequest.field(f"tools[{index}]", f"is {name!r}, which is no tool of this conversation's agent")


def _options(send: SendMessage) -> dict[str, Any]:
    """What the run goes by, beside the agent of its conversation."""
    options: dict[str, Any] = {"subagents_enabled": send.subagents_enabled}
    if send.tools is not None:
        options["tools"] = list(send.tools)
    return options


async def _one(tx: Tx, principal: Principal, run_id: UUID) -> Run:
    found = await store.run(tx, principal.org_id, run_id)
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found
