"""Memories as runs use them: items are read before an answer, and added in the transaction that stores the answer.

These are transactions of the internal role, so every statement names the run's project.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID, uuid5

from stoa.db import Database, Tx
from stoa.db.internal import internal_statement
from stoa.kernel.pages import PageRequest
from stoa.memory import rules, store
from stoa.memory.store import SQL
from stoa.memory.types import Item, MemoryAddition, NewItem, RememberedMessage, Scope


class Recalling:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(
        self, org_id: UUID, project_id: UUID, memory_id: UUID, scope: Scope, limit: int
    ) -> Sequence[RememberedMessage]:
        """The newest items of a scope, oldest first. Empty if the memory was deleted or belongs to another project."""
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.memory_of_project, org_id, project_id, memory_id) is None:
                return ()
            found = await store.list_items(tx, org_id, memory_id, scope, PageRequest(page_size=limit))
        return [utterance for one in reversed(found) if (utterance := _remembered(one)).role]

    async def keep(self, tx: Tx, org_id: UUID, project_id: UUID, run_id: UUID, exchange: MemoryAddition) -> None:
        """Adds items in the transaction that stores the answer, so that a crash neither loses nor repeats them. Does
        nothing if the memory was deleted."""
        if await tx.fetchval(SQL.memory_of_project, org_id, project_id, exchange.memory_id) is None:
            return
        await tx.execute(SQL.lock_user, exchange.memory_id, exchange.user_id)
        items = [
            (uuid5(run_id, f"memory {exchange.key} {number}"), NewItem(exchange.user_id, exchange.session_id, message))
            for number, message in enumerate(exchange.messages)
        ]
        await store.insert_items(tx, org_id, project_id, exchange.memory_id, items, run_id)
        await tx.execute(SQL.delete_oldest_items, org_id, exchange.memory_id, exchange.user_id, rules.ITEMS_MAX)

    async def forget(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> Mapping[str, tuple[int, int]]:
        """Deletes the items of a conversation's runs, before the runs. Returns (rows, bytes) by table."""
        row = await tx.fetchrow(SQL.forget_runs, org_id, conversation_id)
        assert row is not None, "an aggregate gives a row"
        return {
            "memory_items": (row["items"], row["item_bytes"]),
            "tool_effects": (row["effects"], row["effect_bytes"]),
        }

    async def replaced(self, tx: Tx, org_id: UUID, run_id: UUID) -> None:
        """This run's answer replaces earlier answers to the same message: deletes the items that those stored."""
        await tx.execute(SQL.forget_superseded, org_id, run_id)


_READ: Final = ("user", "assistant", "tool")


def _remembered(item: Item) -> RememberedMessage:
    """The role is empty if the item is not a message of a conversation."""
    data = item.data
    role = str(data.get("role"))
    calls = [call for one in data.get("tool_calls") or () if (call := _call(one)) is not None]
    called = data.get("tool_call_id")
    return RememberedMessage(
        role if role in _READ else "",
        _text(data.get("content")),
        item.session_id,
        item.created_at,
        calls,
        called if isinstance(called, str) else None,
    )


def _call(given: Any) -> Mapping[str, str] | None:
    """A tool call in OpenAI's format, or None if a client stored something else."""
    match given:
        case {"id": str(call_id), "function": {"name": str(name), "arguments": str(arguments)}}:
            return {"id": call_id, "name": name, "arguments": arguments}
        case _:
            return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = cast("Sequence[Any]", content) if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)
