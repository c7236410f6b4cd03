"""Starts a run: message, run and journal in one transaction, or an entry in the conversation's queue."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import UUID

from stoa.conversations import (
    LockedConversation,
    keep_items,
    lock_conversation,
    open_session,
    resolve_content,
    take_question,
    text_of,
)
from stoa.db import Database, Raised, Tx, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.journal import Batch, Journal, JournalKey
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import CredentialKind, Principal
from stoa.runs import rules, store
from stoa.runs.agent import builtin
from stoa.runs.metrics import RunMetrics
from stoa.runs.ports import CallbackEntries, Models, Owner, Settle
from stoa.runs.starts import Asked, Begun, StartBatcher
from stoa.runs.store import SQL
from stoa.runs.types import SIGNED_IN, Moved, Run, SendMessage

QUEUE_MAX: Final = 100
"""Queued messages of a conversation; more indicate a faulty client."""


@dataclass(frozen=True, slots=True)
class Started:
    run: Run
    first: bool
    """False for a repetition: an earlier request with the same Idempotency-Key started the run."""
    interrupts: UUID | None = None
    """The active run that is to be canceled for this one."""


class RunStarter:
    def __init__(
        self,
        database: Database,
        journal: Journal,
        models: Models,
        ids: Ids,
        clock: Clock,
        metrics: RunMetrics,
        callbacks: CallbackEntries | None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._models = models
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._callbacks = callbacks
        self.owner: Owner | None = None
        self._starts = StartBatcher(database, models, self._plain_run, self._start_alone, self._after_commit)

    async def start(
        self,
        principal: Principal,
        conversation_id: UUID | None,
        send: SendMessage,
        key: IdempotencyKey | None,
        settle: Settle | None = None,
    ) -> Started:
        """One transaction. If this node has capacity it includes `run.started`, and the run belongs to this node from
        the commit on.
        """
        owner = self.owner if self.owner is not None and self.owner.reserve(principal.project_id) else None
        try:
            if conversation_id is not None and key is None and settle is None and _starts_with_others(send):
                run = await self._starts.start(Asked(principal, conversation_id, send, owner))
                return Started(run, first=True)
            return await self._start(owner, principal, conversation_id, send, key, settle)
        except Raised as refusal:
            if refusal.reason not in _APP_REFUSALS:
                raise
            raise Conflict(_APP_REFUSALS[refusal.reason]) from None
        finally:
            if owner is not None:
                owner.unreserve(principal.project_id)

    async def _start(
        self,
        owner: Owner | None,
        principal: Principal,
        conversation_id: UUID | None,
        send: SendMessage,
        key: IdempotencyKey | None,
        settle: Settle | None,
    ) -> Started:
        with ExitStack() as undo:  # Work that was started in parallel is cancelled if the transaction fails.
            async with self._database.tenant(principal) as tx:
                if key and (answer := await idempotency.claim(tx, principal, key)):
                    return Started(await store.visible_run(tx, principal.org_id, UUID(answer["run_id"])), first=False)
                if send.app is not None:
                    conversation_id = await open_session(tx, principal, send.app.session, self._ids.new())
                assert conversation_id is not None, "a message is sent to a conversation"
                begun = await self._begin(tx, principal, conversation_id, send, owner, undo)
                if key:
                    await idempotency.record(tx, principal, key, {"run_id": str(begun.run.id)}, begun.run.id)
                if settle:
                    await settle(tx, begun.run.id)
            undo.pop_all()
        self._after_commit(begun, owner)
        return Started(begun.run, first=True, interrupts=begun.interrupts)

    async def _start_alone(self, asked: Asked) -> Run:
        started = await self._start(asked.owner, asked.principal, asked.conversation_id, asked.send, None, None)
        return started.run

    def _plain_run(self, asked: Asked, undo: ExitStack) -> tuple[tuple[object, ...], Batch]:
        send = asked.send
        new = _NewRun(self._ids.new(), self._ids.new(), None, send.content, None, _options(send), send.metadata)
        return self._arguments(asked.principal, asked.conversation_id, new, asked.owner, undo)

    def _after_commit(self, begun: Begun, owner: Owner | None) -> None:
        """After the commit: this node executes the run, or leaves it unclaimed for a node with capacity, or queued."""
        prepared = owner.prepare(begun.run) if owner is not None and begun.late else begun.prepared
        if owner is None or prepared is None:
            self._journal.writer.release(begun.batch.writer)
        else:
            self._journal.writer.published(begun.batch, begun=True)
            owner.adopt(begun.run, begun.batch.writer, prepared)
        self._metrics.begun.add(
            "queued" if begun.run.queued_at is not None else "left" if prepared is None else "carried"
        )

    async def _begin(
        self,
        tx: Tx,
        principal: Principal,
        conversation_id: UUID,
        send: SendMessage,
        owner: Owner | None,
        undo: ExitStack,
    ) -> Begun:
        if send.model_id is not None:
            send = replace(send, model_id=await self._models.id_of(tx, send.model_id))
        # Most messages need no separate lock of the conversation: adding them locks it, and a refusal rolls back.
        place = None if _plain(send) else await self._place(tx, principal, conversation_id, send)
        active = (
            None if send.on_busy == "reject" else await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        )
        new = await self._new_run(tx, principal, conversation_id, send, place, active)
        if new.queued:
            owner = None
        run, batch = await self._insert(tx, principal, conversation_id, new, owner, undo)
        if send.items is not None:
            await keep_items(tx, principal.org_id, conversation_id, run.message_position, send.items)
        if place is None and run.model_id is not None:
            await self._models.check(tx, run.model_id)
        if send.app is not None and send.app.callbacks:
            assert self._callbacks is not None, "a server that has apps keeps their callbacks"
            app_id = send.app.session.app_id
            await self._callbacks.enter(tx, run.org_id, run.project_id, app_id, run.id, send.app.callbacks)
        # A message's items, and references to an app's files, are not visible to the preparation before the commit.
        late = send.items is not None or (send.app is not None and any(part["type"] == "file" for part in new.content))
        prepared = owner.prepare(run) if owner is not None and not late else None
        if prepared is not None:
            undo.callback(prepared.cancel)
        if new.interrupting:
            await tx.execute(SQL.interrupt, principal.org_id, conversation_id, run.id)
        interrupts = active if new.interrupting else None
        return Begun(run, batch, prepared, interrupts, late=late and owner is not None)

    async def _new_run(
        self,
        tx: Tx,
        principal: Principal,
        conversation_id: UUID,
        send: SendMessage,
        place: LockedConversation | None,
        active: UUID | None,
    ) -> "_NewRun":
        if place is not None and send.regenerate:
            # It reads the history up to the message that it answers again, without earlier answers to it.
            question = await take_question(tx, principal.org_id, conversation_id, place, model_id=_chosen(send))
            options = {**_options(send), "regenerates": True}
            return _NewRun(self._ids.new(), question.id, question.position, question.content, _chosen(send), options)
        if active is not None:
            await self._check_queue(tx, principal, conversation_id)
        content = await resolve_content(tx, principal, conversation_id, send.content)
        new = _NewRun(self._ids.new(), self._ids.new(), None, content, _chosen(send), _options(send), send.metadata)
        if active is None:
            return new
        # Its message gets its position in the history at the promotion.
        asked = {"model_id": str(send.model_id) if send.model_id else None, "metadata": send.metadata}
        interrupting = send.on_busy == "interrupt"
        return replace(new, position=0, options={**new.options, **asked}, queued=True, interrupting=interrupting)

    async def _place(
        self, tx: Tx, principal: Principal, conversation_id: UUID, send: SendMessage
    ) -> LockedConversation:
        """Locks the conversation until the transaction ends. Raises refusals before anything is written."""
        place = await lock_conversation(tx, principal.org_id, conversation_id)
        if place is None:
            raise _no_conversation(conversation_id)
        _check_place(place, send)
        if (model_id := _chosen(send) or place.model_id) is not None:
            await self._models.check(tx, model_id)
        return place

    async def _check_queue(self, tx: Tx, principal: Principal, conversation_id: UUID) -> None:
        waiting = len(await store.queued(tx, principal.org_id, conversation_id))
        if waiting >= QUEUE_MAX:
            raise Conflict(f"This conversation's queue is full: {waiting} messages wait for their turn.")

    async def _insert(
        self,
        tx: Tx,
        principal: Principal,
        conversation_id: UUID,
        new: "_NewRun",
        owner: Owner | None,
        undo: ExitStack,
    ) -> tuple[Run, Batch]:
        """One statement. Raises NotFound and Conflict, which roll back earlier writes."""
        arguments, batch = self._arguments(principal, conversation_id, new, owner, undo)
        row = await tx.fetchrow(SQL.begin_run, *arguments)
        if row is not None and row["id"] is not None:
            return store.from_row(row), batch
        active = await tx.fetchval(SQL.active_run, principal.org_id, conversation_id)
        raise _no_conversation(conversation_id) if active is None else _busy(active)

    def _arguments(
        self, principal: Principal, conversation_id: UUID, new: "_NewRun", owner: Owner | None, undo: ExitStack
    ) -> tuple[tuple[object, ...], Batch]:
        """The arguments of `begin_run`, and the run's first events."""
        first = [rules.started(new.id, conversation_id, new.message_id)] if owner is not None else []
        writer, batch = self._journal.begin(JournalKey(principal.org_id, new.id), first, rfc3339(self._clock.now()))
        undo.callback(self._journal.writer.release, writer)
        arguments = (
            principal.org_id,
            conversation_id,
            new.id,
            new.message_id,
            new.position,
            new.model_id,
            new.content,
            text_of(new.content),
            new.metadata,
            _with_credential(new.options, principal),
            owner.node_id if owner else None,
            principal.key_id,
            new.queued,
            new.interrupting,
            *batch.columns(),
        )
        return arguments, batch


@dataclass(frozen=True, slots=True)
class _NewRun:
    """A run that is about to start. `position` None: its message is new; 0: it is queued."""

    id: UUID
    message_id: UUID
    position: int | None
    content: Sequence[Mapping[str, Any]]
    model_id: UUID | None
    options: Mapping[str, Any]
    metadata: Mapping[str, Any] | None = None
    queued: bool = False
    interrupting: bool = False


_APP_REFUSALS: Final[Mapping[str, str]] = {
    "app deleted": "The app of this conversation is deleted; the conversation can be read, and takes no more messages.",
    "app archived": "The app of this conversation is archived: it takes no messages until it is restored.",
}
"""The app refusals that begin_run_v2 raises."""


def _no_conversation(conversation_id: UUID) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id}.")


def _busy(run_id: UUID) -> Conflict:
    way_out = f"wait for it, cancel it (POST /v1/runs/{run_id}/cancel), or send on_busy=queue or interrupt"
    return Conflict(f"This conversation is busy with run {run_id}; {way_out}.", details={"active_run_id": str(run_id)})


def _plain(send: SendMessage) -> bool:
    """Whether it can be written without look-ups: it is not queued and names no model, tool or file."""
    plain = send.on_busy == "reject" and not send.regenerate and send.model_id is None and send.tools is None
    return plain and send.follows is None and all(part["type"] == "text" for part in send.content)


def _starts_with_others(send: SendMessage) -> bool:
    """Whether its start has no further writes."""
    return _plain(send) and send.app is None and send.graph is None and send.items is None


def _chosen(send: SendMessage) -> UUID | None:
    """The id of the model that it names."""
    return UUID(str(send.model_id)) if send.model_id is not None else None


def _check_place(place: LockedConversation, send: SendMessage) -> None:
    """Raises BadRequest naming a field that this conversation does not allow."""
    if place.app_id is not None and send.model_id is not None:
        raise BadRequest.field(
            "model_id", "cannot be set: this conversation is bound to an app, which brings its own model"
        )
    if send.follows is not None and place.position != send.follows:
        raise Moved("This conversation has gone on since then.")
    for index, name in enumerate(send.tools or ()):
        if not builtin.named(name, (place.agent or {}).get("tools", ())):
            raise BadRequest.field(f"tools[{index}]", f"is {name!r}, which is no tool of this conversation's agent")


def _with_credential(options: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
    """The options with the fields of the credential that started the run."""
    if principal.spending_limit is not None:
        return {**options, "spending_limit": asdict(principal.spending_limit)}
    return {**options, SIGNED_IN: True} if principal.credential is CredentialKind.SESSION else options


def _options(send: SendMessage) -> dict[str, Any]:
    """The run's options, in addition to the agent of its conversation."""
    options: dict[str, Any] = {"subagents_enabled": send.subagents_enabled}
    if send.tools is not None:
        options["tools"] = list(send.tools)
    if send.app is not None:
        options["fields"] = send.app.fields
        if send.app.callbacks:
            options["callbacks"] = True
    if send.graph is not None:
        options["fields"] = send.graph.fields
        if send.graph.workflow is not None:
            options["workflow"] = send.graph.workflow
    if send.wanted is not None:
        options["wanted"] = send.wanted
    if send.items is not None:
        options["items"] = True
    return options
