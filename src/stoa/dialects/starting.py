"""Starts a run for a request of another dialect: finds or creates its conversation, stores the files inside the
request, and sends the message."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final
from uuid import UUID, uuid5

from stoa.conversations import Conversation, Conversations, Fork, Message, Role
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import AppError, BadRequest, NotFound, Unavailable
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import Moved, Run, Runs, SendMessage, content_of

ATTEMPTS_MAX: Final = 3
NAMESPACE: Final = UUID("6f1d2f0e-5d3c-4b62-8f5b-0d8e5a7f4c11")
"""The namespace of ids that are derived from clients' names."""
CHECKED: Final = ("tools", "knowledge_bases", "output_schema")

CheckAgent = Callable[[Principal, Mapping[str, Any]], Awaitable[None]]
"""Checks that the tools and knowledge bases of a definition exist. Raises BadRequest."""
ModelOf = Callable[[Principal, str], Awaitable[UUID]]
"""The model of a slug. Raises NotFound."""
ModelsOf = Callable[[Principal, str], Awaitable[Sequence[UUID]]]
"""The models behind a slug, in the order in which they are tried. Raises NotFound."""


def once_for(dialect: str, *names: str) -> IdempotencyKey:
    """The idempotency key of a request whose client names it (a run, a message): a request with the same names is the
    same request, whatever else it contains."""
    made = uuid5(NAMESPACE, "\0".join((dialect, *names)))
    return IdempotencyKey(str(made), dialect, made.bytes)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came inside a request."""

    name: str
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """A run to be started. `items` name attachments as files whose id is `upload:<n>`."""

    model: str | None
    items: Sequence[Mapping[str, Any]]
    wanted: Mapping[str, Any]
    uploads: Sequence[Attachment] = ()
    conversation: UUID | None = None
    """The conversation of the message; None creates one for it."""
    app: UUID | None = None
    """The app of a created conversation; None creates it for `model`."""
    follows: Run | None = None
    """The run whose answer the message follows: in its conversation, or in a fork where that has continued since."""
    user: str | None = None
    metadata: Mapping[str, Any] | None = None
    regenerate: bool = False
    """Another answer to the last message of `conversation`; `items` are empty then."""


@dataclass(slots=True)
class _Place:
    conversation: UUID
    follows: int | None = None
    made: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    runs: Runs
    conversations: Conversations
    check_agent: CheckAgent
    models_of: ModelsOf
    draining: Callable[[], bool]

    async def start(self, principal: Principal, order: Order, once: IdempotencyKey | None) -> Run:
        """Starts the run in one transaction; a new conversation and its files are stored before. Raises AppError, and
        removes what it stored."""
        if self.draining():
            raise Unavailable("This server is restarting; send it again in a moment.", retry_after_seconds=2)
        models = await self.models_of(principal, order.model) if order.model is not None else ()
        if len(models) > 1:
            order = replace(order, wanted={**order.wanted, "models": [str(model_id) for model_id in models]})
        if named := {name: value for name, value in order.wanted.items() if name in CHECKED}:
            await self.check_agent(principal, named)
        for _ in range(ATTEMPTS_MAX):
            place = await self._place(principal, order)
            try:
                return await self._send(principal, order, place, models[0] if models else None, once)
            except Moved:
                continue  # Another message arrived meanwhile: the next attempt forks.
        raise Moved("This conversation goes on faster than this message can be placed in it; send it again.")

    async def _send(
        self, principal: Principal, order: Order, place: _Place, model_id: UUID | None, once: IdempotencyKey | None
    ) -> Run:
        try:
            items = await self._placed(principal, order, place)
            plain = plain_content(items)
            send = SendMessage(
                () if order.regenerate else plain if plain is not None else content_of(items),
                model_id,
                subagents_enabled=False,
                metadata=order.metadata,
                wanted={**order.wanted, "own": order.conversation is None},
                items=None if plain is not None or order.regenerate else items,
                follows=place.follows,
                regenerate=order.regenerate,
            )
            started = await self.runs.start(principal, place.conversation, send, once)
        except AppError:
            if place.made:
                await self.conversations.delete(principal, place.conversation)
            raise
        if place.made and not started.first:  # The run was started by an earlier request with the same idempotency key.
            await self.conversations.delete(principal, place.conversation)
        return started.run

    async def _place(self, principal: Principal, order: Order) -> _Place:
        if order.conversation is not None:
            return _Place(order.conversation)
        if order.follows is None:
            return await self._made(principal, order)
        answer = await self.answer_of(principal, order.follows)
        conversation = await self.conversations.get(principal, order.follows.conversation_id)
        if conversation.message_count == answer.position and order.wanted.get("store", True):
            return _Place(conversation.id, answer.position)
        forked = await self.conversations.fork(principal, conversation.id, Fork(answer.id), None)
        return _Place(forked.id, answer.position, made=True)

    async def _made(self, principal: Principal, order: Order) -> _Place:
        made = await self.make(principal, order.app, order.model, order.user)
        return _Place(made.id, made=True)

    async def make(
        self,
        principal: Principal,
        app_id: UUID | None,
        model: str | None,
        user: str | None = None,
        *,
        once: IdempotencyKey | None = None,
        given_id: UUID | None = None,
    ) -> Conversation:
        """Creates a conversation with an app, or with a model. Raises NotFound where there is neither."""
        try:
            return await self.conversations.create(
                principal,
                model_id=(await self.models_of(principal, model))[0] if app_id is None and model is not None else None,
                app_id=app_id,
                org_id=None,
                title=None,
                user_id=user,
                metadata=None,
                agent=None,
                once=once,
                given_id=given_id,
            )
        except BadRequest as refused:
            if refused.details is None or "app_id" not in refused.details:
                raise
            raise NotFound(f"There is no agent {app_id}: it {refused.details['app_id']}.") from None

    async def answer_of(self, principal: Principal, run: Run) -> Message:
        """The message that contains a run's answer. Raises NotFound while there is none."""
        found = await self.message_at(principal, run.conversation_id, run.message_position + 1)
        if found is None or found.role is not Role.ASSISTANT or found.run_id != run.id:
            raise NotFound(f"The run {run.id} has no answer (yet) that a message could follow.")
        return found

    async def message_at(self, principal: Principal, conversation_id: UUID, position: int) -> Message | None:
        found = (await self.conversations.messages(principal, conversation_id, PageRequest(position, 1))).items
        return found[0] if found else None

    async def _placed(self, principal: Principal, order: Order, place: _Place) -> Sequence[Mapping[str, Any]]:
        """The items, after storing every attachment as a file of the conversation."""
        files: list[Mapping[str, Any]] = []
        for one in order.uploads:
            file = await self.conversations.add_file(
                principal,
                place.conversation,
                BytesIO(one.data),
                name=one.name,
                mime_type=one.mime_type,
                once=None,
            )
            files.append({"id": str(file.id), "name": file.name})
        return [_with_files(item, files) for item in order.items]


def _with_files(item: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if "content" not in item:
        return item
    parts: list[Any] = []
    for part in item["content"]:
        held = part["file"]["id"] if part["type"] == "file" else ""
        parts.append({**part, "file": files[int(held[7:])]} if held.startswith("upload:") else part)
    return {**item, "content": parts}


def agent_of(agent: str) -> tuple[UUID | None, str | None]:
    """Parses how a path names an agent: the id of an app, or the slug of a model."""
    try:
        return UUID(agent), None
    except ValueError:
        return None, agent


def plain_content(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]] | None:
    """The content of a message that is one text of the user, perhaps with files; None where it is more."""
    if len(items) != 1 or items[0]["type"] != "message" or items[0]["role"] != "user":
        return None
    content: Sequence[Mapping[str, Any]] = items[0]["content"]
    return content


def open_calls(answer: Message | None) -> set[str]:
    """The calls of an answer whose results the client has not sent yet."""
    turns = (answer.turns if answer is not None else None) or ()
    return {call["id"] for turn in turns for call in turn.get("calls", ()) if call.get("client")}


def check_results(open_: set[str], brought: set[str], calls: set[str], name: Callable[[str], str], where: str) -> None:
    """Checks that each call has one result and each result a call. `calls` are those in the request itself. Raises
    BadRequest."""
    for call in sorted((open_ | calls) - brought):
        raise BadRequest.field(where, f"holds no output for the function call {name(call)}")
    for call in sorted(brought - open_ - calls):
        raise BadRequest.field(where, f"holds an output for {name(call)}, and no function call of this id was made")
