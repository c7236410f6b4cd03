"""OpenAI's Conversations: our conversations as lists of items."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from stoa.conversations import Changes, Conversation, Conversations, ItemMessages, Message, Role
from stoa.dialects.responses import names, shapes
from stoa.dialects.responses.reading import Asked, read_input
from stoa.dialects.responses.service import Responses
from stoa.dialects.starting import ModelOf, plain_content
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import Runs, content_of

PAGE: Final = 200
ITEMS_MAX: Final = 20
"""OpenAI's limit of items in one request."""


class ItemConversations:
    def __init__(
        self,
        conversations: Conversations,
        messages: ItemMessages,
        responses: Responses,
        runs: Runs,
        default_model: ModelOf,
    ) -> None:
        """`default_model` gives the model for conversations that name none (the empty slug)."""
        self._conversations = conversations
        self._messages = messages
        self._responses = responses
        self._runs = runs
        self._default_model = default_model

    async def create(self, principal: Principal, metadata: Mapping[str, Any] | None, given: Any) -> Conversation:
        asked = _read(given) if given else None
        made = await self._conversations.create(
            principal,
            model_id=await self._default_model(principal, ""),
            app_id=None,
            org_id=None,
            title=None,
            user_id=None,
            metadata=metadata,
            agent=None,
            once=None,
        )
        if asked is not None:
            try:
                await self._add(principal, made.id, asked)
            except BadRequest:
                await self._conversations.delete(principal, made.id)
                raise
        return made

    async def get(self, principal: Principal, given: str) -> Conversation:
        """Raises NotFound."""
        conversation_id = names.our_id(given)
        missing = NotFound(f"Conversation with id '{given[:100]}' not found.")
        if conversation_id is None:
            raise missing
        try:
            return await self._conversations.get(principal, conversation_id)
        except NotFound:
            raise missing from None

    async def update(self, principal: Principal, given: str, metadata: Mapping[str, Any] | None) -> Conversation:
        held = await self.get(principal, given)
        return await self._conversations.update(principal, held.id, Changes(frozenset({"metadata"}), metadata=metadata))

    async def delete(self, principal: Principal, given: str) -> UUID:
        held = await self.get(principal, given)
        await self._conversations.delete(principal, held.id)
        return held.id

    async def add(self, principal: Principal, given: str, items: Any) -> list[dict[str, Any]]:
        held = await self.get(principal, given)
        message = await self._add(principal, held.id, _read(items))
        everything = await self.items(principal, await self.get(principal, given))
        return [item for item in everything if (place := names.place_of(item["id"])) and place.owner == message]

    async def _add(self, principal: Principal, conversation_id: UUID, asked: Asked) -> UUID:
        if asked.uploads:
            raise BadRequest.field("items", "cannot bring files here; send them in the input of a response")
        content = plain_content(asked.items) or content_of(asked.items)
        return await self._messages.add(principal, conversation_id, content, asked.items)

    async def items(self, principal: Principal, conversation: Conversation) -> list[dict[str, Any]]:
        """All items, oldest first."""
        found: list[dict[str, Any]] = []
        for page in range(1, conversation.message_count // PAGE + 2):
            held = await self._conversations.messages(principal, conversation.id, PageRequest(page, PAGE))
            for message in held.items:
                if not message.superseded:
                    found += await self._items_of(principal, message)
        return found

    async def _items_of(self, principal: Principal, message: Message) -> list[dict[str, Any]]:
        if message.role is Role.USER:
            return shapes.input_items(message)
        if message.run_id is None:
            return shapes.answer_items(message)
        run = await self._runs.get(principal, message.run_id)
        shown = await self._responses.shown(principal, run)
        return [item for item in shown["output"] if item.get("content") != []]

    async def item(self, principal: Principal, given: str, item_id: str) -> dict[str, Any]:
        found = await self.items(principal, await self.get(principal, given))
        for item in found:
            if item["id"] == item_id:
                return item
        raise NotFound(f"There is no item {item_id[:100]} in this conversation.")


def _read(given: Any) -> Asked:
    asked = Asked("", [], {}, {})
    read_input(given, asked, "items")
    if len(given) > ITEMS_MAX:
        raise BadRequest.field("items", f"holds {len(given)} items; at most {ITEMS_MAX} are taken at once")
    if asked.references or not asked.items:
        raise BadRequest.field("items", "must be whole items that a model can read")
    return asked


def shown(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": names.conversation_id(conversation.id),
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "metadata": conversation.metadata or {},
    }
