"""Messages as items: what a client sends that is more than one text of a user."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from stoa.conversations import rules, store
from stoa.conversations.store import SQL
from stoa.conversations.types import Role
from stoa.db import Database, Tx
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

Item = Mapping[str, Any]


async def resolve_content(
    tx: Tx, principal: Principal, conversation_id: UUID, content: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """A message's parts with every file checked and named. Raises BadRequest naming `content[1].file.id`."""
    wanted = [UUID(str(part["file"]["id"])) for part in content if part["type"] == "file"]
    if not wanted:
        return content
    files = await store.files_of(tx, principal.org_id, conversation_id, wanted)
    resolved: list[Mapping[str, Any]] = []
    for index, part in enumerate(content):
        if part["type"] != "file":
            resolved.append(part)
            continue
        file = files.get(UUID(str(part["file"]["id"])))
        if file is None:
            raise BadRequest.field(
                f"content[{index}].file.id",
                "is not a file of this conversation; upload it to /v1/conversations/{id}/files first",
            )
        resolved.append({"type": "file", "file": {"id": str(file.id), "name": file.name}})
    if any(file.conversation_id != conversation_id for file in files.values()):
        await tx.execute(SQL.reach_files, principal.org_id, conversation_id, wanted)
    return resolved


async def keep_items(tx: Tx, org_id: UUID, conversation_id: UUID, position: int, items: Sequence[Item]) -> None:
    """A user's message as items, where it is more than one text: in the column in which an answer keeps its turns."""
    await tx.execute(SQL.keep_items, org_id, conversation_id, position, items)


class ItemMessages:
    """Messages that nobody answers: what a client says was said before."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def add(
        self, principal: Principal, conversation_id: UUID, content: Sequence[Item], items: Sequence[Item]
    ) -> UUID:
        """The id of the message. Raises NotFound, and Conflict while a run is under way."""
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
