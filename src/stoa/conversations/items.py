"""Messages as items, for input that is more than one text of a user."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from stoa.conversations import rules, store
from stoa.conversations.service import resolve_content
from stoa.conversations.store import SQL
from stoa.conversations.types import Role
from stoa.db import Database, Tx
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

Item = Mapping[str, Any]


async def keep_items(tx: Tx, org_id: UUID, conversation_id: UUID, position: int, items: Sequence[Item]) -> None:
    """Stores a user's message as items if it is more than one text, in the column for the turns of an answer."""
    await tx.execute(SQL.keep_items, org_id, conversation_id, position, items)


class ItemMessages:
    """Messages without an answer: earlier turns that a client adds."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def add(
        self, principal: Principal, conversation_id: UUID, content: Sequence[Item], items: Sequence[Item]
    ) -> UUID:
        """The id of the message. Raises NotFound, and Conflict while a run is active."""
        org_id = principal.org_id
        async with self._database.tenant(principal) as tx:
            place = await store.take_position(tx, org_id, conversation_id)
            conversation = await store.conversation(tx, org_id, conversation_id)
            if place is None or conversation is None:
                raise NotFound(f"There is no conversation {conversation_id}.")
            if conversation.active_run_id is not None:
                raise Conflict(f"This conversation is busy with run {conversation.active_run_id}; wait for its end.")
            content = await resolve_content(tx, principal, conversation_id, content)
            message_id = self._ids.new()
            await store.insert_message(
                tx,
                org_id,
                conversation.project_id,
                conversation_id,
                place.position,
                message_id,
                Role.USER,
                content=content,
                text=rules.text_of(content),
                status="completed",
                run_id=None,
                turns=items,
            )
            return message_id
