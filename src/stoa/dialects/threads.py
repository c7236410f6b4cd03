"""Threads: conversations that the client names itself, with its whole history in each request.

AG-UI's and the AI SDK's clients work so. The server has the history already, so only what follows the last answer is
new. The history is stored only for a thread that the server does not know yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

from stoa.conversations import Conversation, Conversations, Message, Role
from stoa.db.idempotency import IdempotencyKey
from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.responses.names import our_call
from stoa.dialects.responses.tools import read_tools
from stoa.dialects.starting import NAMESPACE, Attachment, Beginning, Order, agent_of, once_for, open_calls
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.principal import Principal
from stoa.runs import Run, RunStatus

THREAD_CHARACTERS_MAX: Final = 200
CLIENT_MESSAGE: Final = "client_message_id"
"""In a message's metadata: the client's id for it. A request with the same id asks for another answer to that
message."""
_ACTIVE: Final = frozenset({RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED})


@dataclass(frozen=True, slots=True)
class Turn:
    """What a client asks for. `history` and `tail` are Responses items, `tools` its function tools."""

    agent: str
    """An app's id, or the slug of a model."""
    thread: str
    history: Sequence[Mapping[str, Any]]
    tail: Sequence[Mapping[str, Any]]
    dialect: str
    tools: Sequence[Mapping[str, Any]] = ()
    instructions: str | None = None
    message_id: str | None = None
    regenerate: bool = False
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the dialect stores about the request."""


class Threads:
    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self._conversations: Conversations = beginning.conversations
        self._runs = beginning.runs

    async def find(self, principal: Principal, thread: str) -> Conversation | None:
        """The conversation with that name or id."""
        for conversation_id in self._ids(principal, thread):
            try:
                return await self._conversations.get(principal, conversation_id)
            except NotFound:
                continue
        return None

    async def latest(self, principal: Principal, thread: str) -> Run | None:
        """A thread's active run, if any."""
        held = await self.find(principal, thread)
        if held is None or held.active_run_id is None:
            return None
        run = await self._runs.get(principal, held.active_run_id)
        return run if run.status in _ACTIVE else None

    async def start(self, principal: Principal, turn: Turn, once: IdempotencyKey | None) -> Run:
        """Starts the run that answers. Raises AppError."""
        if not 0 < len(turn.thread) <= THREAD_CHARACTERS_MAX or "\0" in turn.thread:
            raise BadRequest.field("thread", f"must be 1 to {THREAD_CHARACTERS_MAX} characters")
        asked = Asked("", [], {}, {})
        read_tools({"tools": [{"type": "function", **tool} for tool in turn.tools]}, asked)
        held = await self.find(principal, turn.thread)
        last, question = await self._last(principal, held) if held is not None else (None, None)
        regenerate = question is not None and (turn.regenerate or _same(question, turn.message_id))
        if not regenerate:
            given = turn.tail if last is not None else turn.history
            read_input([item for item in given if _wanted(item, open_calls(last), last)] or given, asked, "messages")
        _, slug = agent_of(turn.agent)
        conversation = held or await self._make(principal, turn.thread, turn.agent)
        wanted = {
            **asked.wanted,
            **turn.more,
            **({"instructions": turn.instructions} if turn.instructions else {}),
            "dialect": turn.dialect,
        }
        order = Order(
            slug if conversation.app_id is None else None,
            asked.items,
            wanted,
            [Attachment(one.name, one.mime_type, one.data) for one in asked.uploads],
            conversation.id,
            metadata={CLIENT_MESSAGE: turn.message_id} if turn.message_id else None,
            regenerate=regenerate,
        )
        return await self._beginning.start(principal, order, once)

    async def named(self, principal: Principal, thread: str, agent: str) -> Conversation:
        """The conversation with that name or id; creates it for the agent where there is none."""
        return await self.find(principal, thread) or await self._make(principal, thread, agent)

    async def _last(self, principal: Principal, held: Conversation) -> tuple[Message | None, Message | None]:
        """The last message, and the user's last message."""
        if not held.message_count:
            return None, None
        last = await self._beginning.message_at(principal, held.id, held.message_count)
        if last is None or last.role is Role.USER or last.run_id is None:
            return last, last
        run = await self._runs.get(principal, last.run_id)
        return last, await self._beginning.message_at(principal, held.id, run.message_position)

    async def _make(self, principal: Principal, thread: str, agent: str) -> Conversation:
        app_id, slug = agent_of(agent)
        given_id = self._ids(principal, thread)[-1]
        return await self._beginning.make(
            principal, app_id, slug, once=once_for("threads", str(given_id)), given_id=given_id
        )

    def _ids(self, principal: Principal, thread: str) -> list[UUID]:
        """The ids of the conversation with this id, and of the one that was created for this name."""
        made = uuid5(NAMESPACE, f"{principal.org_id}/{principal.project_id}/{thread}")
        try:
            return [UUID(thread), made]
        except ValueError:
            return [made]


def _same(question: Message, message_id: str | None) -> bool:
    """Whether the user's last message is the one in the request."""
    return message_id is not None and (question.metadata or {}).get(CLIENT_MESSAGE) == message_id


def _wanted(item: Mapping[str, Any], open_: set[str], last: Message | None) -> bool:
    """Leaves out results of calls that this server has made: they are in its history already."""
    if last is None or item.get("type") != "function_call_output":
        return True
    return our_call(str(item.get("call_id"))) in open_
