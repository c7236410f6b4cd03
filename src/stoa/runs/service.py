"""Runs as their owners use them, and the transactions in which they begin and end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from stoa.conversations import RemovedRuns, Role, insert_message, resolve_content, take_position, text_of
from stoa.db import Database, Tx, idempotency
from stoa.db.idempotency import Once
from stoa.db.internal import internal
from stoa.events import Kind, delta_of
from stoa.journal import Fenced, Journal, Pen
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import BadRequest, Conflict, NotFound, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import rules, store
from stoa.runs.store import SQL
from stoa.runs.types import Outcome, Run, RunStatus, SendMessage

RETRY_SECONDS: Final = 0.25


class Models(Protocol):
    """What runs ask of the gateway before they begin."""

    async def check(self, principal: Principal, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` when the principal may not use it, or it cannot be used just now."""
        ...


class Owner(Protocol):
    """The worker of this node, as the service sees it."""

    @property
    def node_id(self) -> UUID: ...

    @property
    def has_room(self) -> bool: ...

    def adopt(self, run: Run, pen: Pen) -> None:
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


class Runs:
    def __init__(self, database: Database, journal: Journal, models: Models, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._models = models
        self._ids = ids
        self._clock = clock
        self.owner: Owner | None = None
        """Set by the composition root once the worker exists; without one, runs wait for another node."""

    # --- beginning --------------------------------------------------------------------------------------------------
    async def start(self, principal: Principal, conversation_id: UUID, send: SendMessage, once: Once | None) -> Started:
        """Message, run and journal in one transaction; where this node has room, `run.started` too. Raises Conflict when busy."""
        if send.model_id is not None:
            await self._models.check(principal, send.model_id)
        pen: Pen | None = None
        owner = self.owner if self.owner is not None and self.owner.has_room else None
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return Started(await _one(tx, principal, UUID(first["run_id"])), first=False)
                run = await self._insert(tx, principal, conversation_id, send, owner)
                pen = await self._journal.open(tx, run.key)
                batch = None
                if owner is not None:
                    batch = pen.batch([rules.started(run)], rfc3339(self._clock.now()))
                    await self._journal.writer.store(tx, batch)
                if once:
                    await idempotency.record(tx, principal, once, {"run_id": str(run.id)}, run.id)
        except BaseException:
            if pen is not None:
                self._journal.writer.release(pen)
            raise
        if owner is None or batch is None:
            self._journal.writer.release(pen)
        else:
            self._journal.writer.published(batch)
            owner.adopt(run, pen)
        return Started(run, first=True)

    async def _insert(self, tx: Tx, principal: Principal, conversation_id: UUID, send: SendMessage, owner: Owner | None) -> Run:
        org_id = principal.org_id
        place = await take_position(tx, org_id, conversation_id, model_id=send.model_id)
        if place is None:
            raise NotFound(f"There is no conversation {conversation_id}.")
        if place.app_id is not None and send.model_id is not None:
            raise BadRequest.field("model_id", "cannot be set: this conversation is bound to an app, which brings its own model")
        busy = await tx.fetchval(SQL.active_run, org_id, conversation_id)
        if busy is not None:
            raise Conflict(
                f"This conversation is busy with run {busy}; wait for it or cancel it (POST /v1/runs/{busy}/cancel).",
                details={"active_run_id": str(busy)},
            )
        model_id = place.model_id
        assert model_id is not None, "a conversation without an app has a model"
        if send.model_id is None:
            await self._models.check(principal, model_id)
        content = await resolve_content(tx, principal, conversation_id, send.content)
        run_id, message_id = self._ids.new(), self._ids.new()
        await insert_message(
            tx, org_id, place.project_id, conversation_id, place.position, message_id, Role.USER,
            content=content, text=text_of(content), status="completed", run_id=run_id, metadata=send.metadata,
        )  # fmt: skip
        status = RunStatus.CREATED if owner is None else RunStatus.STARTED
        row = await tx.fetchrow(
            SQL.insert_run, org_id, place.project_id, run_id, conversation_id, message_id, place.position, model_id, None, status.value,
            {"subagents_enabled": send.subagents_enabled}, {"content": content}, int(owner is not None), owner.node_id if owner else None,
            principal.key_id,
        )  # fmt: skip
        assert row is not None
        return store.from_row(row)

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

    async def ended(self, principal: Principal, run_id: UUID) -> Run:
        """The run once it has ended; waits as long as that takes. Raises Unavailable when this node is leaving meanwhile."""
        with self._journal.tails.subscribe(run_id) as ear:
            while True:
                if not self._journal.tails.live(run_id):
                    run = await self.get(principal, run_id)
                    if run.status not in rules.ACTIVE:
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
                    await self.ended(principal, run_id)
                    return
            except TimeoutError:
                pass
        await self.end_by_force(run, reason)

    async def end_by_force(self, run: Run, reason: str) -> None:
        """Ends a run that nobody carries, or whose owner does not answer: fences it off, then records the end."""
        try:
            async with internal(self._database) as tx:
                current = await store.run_for_update(tx, run.org_id, run.id)
                if current is None or current.status not in rules.ACTIVE:
                    return
                head = await self._journal.take(tx, run.key)
            pen = await self._journal.resume(run.key, head)
            if head.last_sequence == 0:
                pen.write(rules.started(run))
            await self.finish(run, pen, await self.spoken(run, reason))
        except Fenced:
            return  # Somebody else ended it at the same moment.

    async def cancel_active(self, principal: Principal, conversation_id: UUID) -> None:
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
            await pen.flush()
            while True:
                mark = pen.mark()
                try:
                    await self._finish(run, pen, outcome)
                    return
                except Unavailable:
                    pen.rewind(mark)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._journal.writer.release(pen)

    async def _finish(self, run: Run, pen: Pen, outcome: Outcome) -> None:
        event = rules.terminal(run.id, outcome, pen.last_sequence, pen.digest.hexdigest())
        batch = pen.batch([event], rfc3339(self._clock.now()), seal=True)
        async with internal(self._database) as tx:
            place = await take_position(tx, run.org_id, run.conversation_id)
            assert place is not None, "a conversation outlives its active run"
            await self._journal.writer.store(tx, batch)
            await insert_message(
                tx, run.org_id, run.project_id, run.conversation_id, place.position, self._ids.new(), Role.ASSISTANT,
                content=[{"type": "text", "text": outcome.output}], text=outcome.output, status=outcome.status.value, run_id=run.id,
                usage=outcome.usage,
            )  # fmt: skip
            error = outcome.error.as_json() if outcome.error else None
            await tx.execute(SQL.end_run, run.org_id, run.id, outcome.status.value, outcome.output, error, outcome.usage)
        self._journal.writer.published(batch)

    async def spoken(self, run: Run, reason: str) -> Outcome:
        """A canceled run's outcome, out of its journal: what it had said since it last began anew."""
        async with internal(self._database) as tx:
            begun = await self._journal.of_kind(tx, run.org_id, run.id, Kind.RUN_RECOVERED)
            since = begun[-1].sequence if begun else 0
            deltas = await self._journal.of_kind(tx, run.org_id, run.id, Kind.RESPONSE_DELTA, since)
        text = "".join(delta_of(record.payload) for record in deltas)
        usage: Mapping[str, Any] = rules.estimated_usage(len(text_of(run.input["content"])), len(text))
        return Outcome(RunStatus.CANCELED, text, usage, reason=reason)

    # --- deleting, on behalf of a conversation ----------------------------------------------------------------------
    async def active(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> bool:
        return await tx.fetchval(SQL.active_run, org_id, conversation_id) is not None

    async def delete(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> RemovedRuns:
        rows = await tx.fetch(SQL.delete_runs, org_id, conversation_id)
        return RemovedRuns([row["id"] for row in rows], sum(row["bytes"] for row in rows))


async def _one(tx: Tx, principal: Principal, run_id: UUID) -> Run:
    found = await store.run(tx, principal.org_id, run_id)
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found
