"""Runs as their owners use them, and the transactions in which they begin and end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from stoa.conversations import Place, RemovedRuns, Role, add_message, hold, resolve_content, take_question, text_of
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import Once
from stoa.db.internal import internal
from stoa.events import Event, TextDelta
from stoa.journal import Fenced, Journal, Pen
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import BadRequest, Conflict, NotFound, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import builtin, rules, store
from stoa.runs.state import RunState, turns_json
from stoa.runs.store import SQL
from stoa.runs.tally import Tally
from stoa.runs.turns import give_turn
from stoa.runs.types import Input, InputRequest, Outcome, RequestType, Run, RunError, RunStatus, SendMessage, ToolCallRow

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

    @property
    def has_room(self) -> bool: ...

    def prepare(self, run: Run) -> Preparation:
        """Begins to collect what the run's model is to read, while the transaction that starts the run goes on."""
        ...

    def adopt(self, run: Run, pen: Pen, prepared: Preparation) -> None:
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
    def __init__(self, database: Database, journal: Journal, models: Models, ids: Ids, clock: Clock, tally: Tally | None = None) -> None:
        self._database = database
        self._journal = journal
        self._models = models
        self._ids = ids
        self._clock = clock
        self._tally = tally or Tally()
        self.owner: Owner | None = None
        """Set by the composition root once the worker exists; without one, runs wait for another node."""

    # --- beginning --------------------------------------------------------------------------------------------------
    async def start(self, principal: Principal, conversation_id: UUID, send: SendMessage, once: Once | None) -> Started:
        """Message, run and journal in one transaction; where this node has room, `run.started` too.

        A busy conversation is refused (Conflict), or the run waits for its turn; an interrupting one has the next turn, and ends the run under way.
        """
        started = await self._start(principal, conversation_id, send, once)
        if started.interrupts is not None:
            await self.cancel(principal, started.interrupts, "interrupted")
        return started

    async def _start(self, principal: Principal, conversation_id: UUID, send: SendMessage, once: Once | None) -> Started:
        pen: Pen | None = None
        prepared: Preparation | None = None
        owner = self.owner if self.owner is not None and self.owner.has_room else None
        interrupts: UUID | None = None
        try:
            async with self._database.tenant(principal) as tx:
                if once and (answer := await idempotency.claim(tx, principal, once)):
                    return Started(await _one(tx, principal, UUID(answer["run_id"])), first=False)
                # Most messages need not hold the conversation first: adding them does, and what is refused then goes with the transaction.
                place = None if _plain(send) else await self._place(tx, principal, conversation_id, send)
                active = None if send.on_busy == "reject" else await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
                if place is not None and send.regenerate:
                    run = await self._insert_again(tx, principal, conversation_id, place, send, owner)
                elif place is None or active is None:
                    run = await self._insert(tx, principal, conversation_id, send, owner)
                else:
                    run, owner = await self._enqueue(tx, principal, conversation_id, place, send), None
                    if send.on_busy == "interrupt":
                        interrupts = active
                        await tx.execute(SQL.interrupt, principal.org_id, conversation_id, run.id)
                first: Sequence[Event] = ()
                if owner is not None:
                    first, prepared = [rules.started(run)], owner.prepare(run)
                pen, batch = await self._journal.open(tx, run.key, first, rfc3339(self._clock.now()))
                if once:
                    await idempotency.record(tx, principal, once, {"run_id": str(run.id)}, run.id)
        except BaseException:
            if pen is not None:
                self._journal.writer.release(pen)
            if prepared is not None:
                prepared.cancel()
            raise
        if owner is None or prepared is None:
            self._journal.writer.release(pen)
        else:
            self._journal.writer.published(batch)
            owner.adopt(run, pen, prepared)
        self._tally.begun.add("queued" if run.queued_at is not None else "left" if owner is None else "carried")
        return Started(run, first=True, interrupts=interrupts)

    async def _place(self, tx: Tx, principal: Principal, conversation_id: UUID, send: SendMessage) -> Place:
        """The conversation, held until the transaction ends. Raises what can be refused before anything is written."""
        return await self._allowed(tx, conversation_id, await hold(tx, principal.org_id, conversation_id), send)

    async def _allowed(self, tx: Tx, conversation_id: UUID, place: Place | None, send: SendMessage) -> Place:
        """The place, when the message may have it. Raises NotFound and BadRequest."""
        if place is None:
            raise NotFound(f"There is no conversation {conversation_id}.")
        _check_place(place, send)
        if (model_id := send.model_id or place.model_id) is not None:
            await self._models.check(tx, model_id)
        return place

    async def _enqueue(self, tx: Tx, principal: Principal, conversation_id: UUID, place: Place, send: SendMessage) -> Run:
        """A run that waits for its turn. Its message takes its place in the history when the turn comes."""
        waiting = len(await store.queued(tx, principal.org_id, conversation_id))
        if waiting >= QUEUE_MAX:
            raise Conflict(f"This conversation's queue is full: {waiting} messages wait for their turn.")
        content = await resolve_content(tx, principal, conversation_id, send.content)
        options = _options(place.agent, send) | {"model_id": str(send.model_id) if send.model_id else None, "metadata": send.metadata}
        return await self._insert_run(
            tx, principal, place, conversation_id, self._ids.new(), self._ids.new(), 0, send.model_id or place.model_id, options, content, None,
            queued=True, interrupting=send.on_busy == "interrupt",
        )  # fmt: skip

    async def _insert(self, tx: Tx, principal: Principal, conversation_id: UUID, send: SendMessage, owner: Owner | None) -> Run:
        content = await resolve_content(tx, principal, conversation_id, send.content)
        run_id, message_id = self._ids.new(), self._ids.new()
        added = await add_message(
            tx, principal.org_id, conversation_id, message_id, Role.USER, content=content, text=text_of(content), status="completed", run_id=run_id,
            model_id=send.model_id, metadata=send.metadata,
        )  # fmt: skip
        place = await self._allowed(tx, conversation_id, added, send)
        return await self._insert_run(
            tx, principal, place, conversation_id, run_id, message_id, place.position, place.model_id, _options(place.agent, send), content, owner,
        )  # fmt: skip

    async def _insert_again(self, tx: Tx, principal: Principal, conversation_id: UUID, place: Place, send: SendMessage, owner: Owner | None) -> Run:
        """A run that answers the last message once more. It reads the history up to that message, so no earlier answer to it."""
        question = await take_question(tx, principal.org_id, conversation_id, place, model_id=send.model_id)
        return await self._insert_run(
            tx, principal, place, conversation_id, self._ids.new(), question.id, question.position, send.model_id or place.model_id,
            _options(place.agent, send), question.content, owner,
        )  # fmt: skip

    async def _insert_run(
        self, tx: Tx, principal: Principal, place: Place, conversation_id: UUID, run_id: UUID, message_id: UUID, position: int,
        model_id: UUID | None, options: Mapping[str, Any], content: Sequence[Mapping[str, Any]], owner: Owner | None, *,
        queued: bool = False, interrupting: bool = False,
    ) -> Run:  # fmt: skip
        status = RunStatus.CREATED if owner is None else RunStatus.STARTED
        if principal.spending_limit is not None:
            options = {**options, "spending_limit": asdict(principal.spending_limit)}
        row = await tx.fetchrow(
            SQL.insert_run, principal.org_id, place.project_id, run_id, conversation_id, message_id, position, model_id, place.user_id, status.value, options,
            {"content": content}, int(owner is not None), owner.node_id if owner else None, principal.key_id, queued, interrupting,
        )  # fmt: skip
        if row is None:  # What was written before it goes with the transaction.
            raise _busy(await tx.fetchval(SQL.active_run, principal.org_id, conversation_id))
        return store.from_row(row)

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
        self, principal: Principal, page: PageRequest, *, statuses: Sequence[str] | None, conversation_id: UUID | None, user_id: str | None
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
                    raise Unavailable("This node is leaving; the run goes on. Read it at /v1/runs/{id}.".replace("{id}", str(run_id)))
                nudge = asyncio.get_running_loop().call_later(rules.POLL_SECONDS * 4, ear.nudge)
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
            pen.write(rules.started(current))
        await self.finish(current, pen, outcome)
        async with internal(self._database) as tx:  # Whoever took it up in between has been fenced off, and closes its model's call now.
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
    async def finish(self, run: Run, pen: Pen, outcome: Outcome) -> None:
        """The terminal event, the seal, the assistant's message and the state, in one transaction. Raises Fenced.

        Kept up until the database takes it: an end that cannot be written must not be lost.
        """
        try:
            said = await pen.take()
            await pen.until_stored(lambda: self._finish(run, pen, said, outcome))
            self._tally.ended(outcome)
        finally:
            self._journal.writer.release(pen)

    async def _finish(self, run: Run, pen: Pen, said: Sequence[Event | TextDelta], outcome: Outcome) -> None:
        """`said` is what no tick has stored yet."""
        timestamp = rfc3339(self._clock.now())
        batch = pen.batch(said, timestamp)
        batch.extend(pen.batch([rules.terminal(run.id, outcome, pen.last_sequence, pen.digest.hexdigest())], timestamp, seal=True))
        async with internal(self._database) as tx:
            waiting = run.queued_at is not None and await self._waits(tx, run)
            if not waiting:  # A message that never had its turn has no place in the history, and no answer.
                place = await add_message(
                    tx, run.org_id, run.conversation_id, self._ids.new(), Role.ASSISTANT, content=[{"type": "text", "text": outcome.output}],
                    text=outcome.output, status=outcome.status.value, run_id=run.id, usage=outcome.usage, turns=outcome.turns,
                )  # fmt: skip
                assert place is not None, "a conversation outlives its active run"
            error = outcome.error.as_json() if outcome.error else None
            # Conversation, run, journal: whoever locks several of them does so in this order.
            queue = await tx.fetchval(
                SQL.end_run, run.org_id, run.id, outcome.status.value, outcome.output, error, outcome.usage, run.conversation_id
            )
            await self._journal.writer.store(tx, batch)
            await store.bill(tx, run, outcome.uses)
            if outcome.turns or run.options.get("agent"):
                await tx.execute(SQL.close_requests, run.org_id, run.id)
                await tx.execute(SQL.close_calls, run.org_id, run.id)
            if queue and not waiting:
                await give_turn(tx, run.org_id, run.conversation_id)  # In the transaction that ends the run before it: no turn can be lost.
        self._journal.writer.published(batch)

    async def _waits(self, tx: Tx, run: Run) -> bool:
        """Whether its turn has not come meanwhile. Holds the conversation, as every promotion does."""
        await hold(tx, run.org_id, run.conversation_id)
        current = await store.run_for_update(tx, run.org_id, run.id)
        return current is not None and current.queued_at is not None

    async def spoken(self, run: Run, status: RunStatus, *, error: RunError | None = None, reason: str | None = None) -> Outcome:
        """The outcome of a run whose loop is gone: what its steps hold, and what it had said since, out of the journal."""
        state = RunState.of(run.checkpoint)
        async with internal(self._database) as tx:
            lost = await store.lost(tx, self._journal, run)
            usage, cost = await store.billed(tx, run)
        uses = () if lost.use is None else (lost.use,)
        for use in uses:
            usage += use.usage
        return Outcome(status, state.agent.text + lost.said, rules.usage_json(usage, cost), error, reason, turns_json(state.agent), uses)

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
                raise BadRequest.field("data.request_id", "is no open request of this run; it may have been answered already")
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


def _busy(run_id: UUID) -> Conflict:
    way_out = f"wait for it, cancel it (POST /v1/runs/{run_id}/cancel), or send on_busy=queue or interrupt"
    return Conflict(f"This conversation is busy with run {run_id}; {way_out}.", details={"active_run_id": str(run_id)})


def _plain(send: SendMessage) -> bool:
    """Whether nothing of it has to be looked up before it is written: no turn to wait for, no model, no file."""
    return send.on_busy == "reject" and not send.regenerate and send.model_id is None and all(part["type"] == "text" for part in send.content)


def _check_place(place: Place, send: SendMessage) -> None:
    """Raises BadRequest naming what this conversation does not allow."""
    if place.app_id is not None and send.model_id is not None:
        raise BadRequest.field("model_id", "cannot be set: this conversation is bound to an app, which brings its own model")
    for index, name in enumerate(send.tools or ()):
        if not builtin.named(name, (place.agent or {}).get("tools", ())):
            raise BadRequest.field(f"tools[{index}]", f"is {name!r}, which is no tool of this conversation's agent")


def _options(agent: Mapping[str, Any] | None, send: SendMessage) -> dict[str, Any]:
    """What the run goes by: the agent as it is now, so that a later change of the conversation does not reach into it."""
    options: dict[str, Any] = {"subagents_enabled": send.subagents_enabled}
    if agent is not None:
        options["agent"] = agent
    if send.tools is not None:
        options["tools"] = list(send.tools)
    return options


async def _one(tx: Tx, principal: Principal, run_id: UUID) -> Run:
    found = await store.run(tx, principal.org_id, run_id)
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found
