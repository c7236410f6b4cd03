"""Memories, items, memory stores and files, between rows and values. Every function takes its transaction."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.memory.types import Item, Memory, MemoryFile, MemoryStore, NewItem, Scope

SQL: Final = load("stoa.memory")


# --- memories -------------------------------------------------------------------------------------------------------
async def memory(tx: Tx, org_id: UUID, memory_id: UUID) -> Memory:
    """Raises NotFound."""
    return _memory(await tx.fetchrow(SQL.memory, org_id, memory_id), memory_id)


async def share_memory(tx: Tx, org_id: UUID, memory_id: UUID) -> Memory:
    """Locks the row: it cannot be deleted until the transaction ends. Raises NotFound."""
    return _memory(await tx.fetchrow(SQL.share_memory, org_id, memory_id), memory_id)


async def list_memories(
    tx: Tx, org_id: UUID, project_id: UUID | None, page: PageRequest
) -> tuple[Sequence[Memory], int]:
    query = SQL.list_memories.format(order=page.order_by("created_at DESC"))
    rows = await tx.fetch(query, org_id, project_id, page.page_size, page.offset)
    return [_memory(row, row["id"]) for row in rows], await tx.fetchval(SQL.count_memories, org_id, project_id)


def _memory(row: Row | None, memory_id: UUID) -> Memory:
    if row is None:
        raise NotFound(f"There is no memory {memory_id}.")
    return Memory(row["id"], row["project_id"], row["name"], row["created_by"], row["created_at"], row["updated_at"])


# --- items ----------------------------------------------------------------------------------------------------------
async def insert_items(
    tx: Tx,
    org_id: UUID,
    project_id: UUID,
    memory_id: UUID,
    items: Sequence[tuple[UUID, NewItem]],
    run_id: UUID | None = None,
) -> None:
    """Inserts in this order; all items have the same user and session. Items whose ids exist are not changed."""
    first = items[0][1]
    await tx.execute(
        SQL.insert_items,
        org_id,
        project_id,
        memory_id,
        first.user_id,
        first.session_id,
        [item_id for item_id, _ in items],
        [new.data for _, new in items],
        [new.metadata for _, new in items],
        run_id,
    )


async def item(tx: Tx, org_id: UUID, item_id: UUID) -> Item:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.item, org_id, item_id)
    if row is None:
        raise NotFound(f"There is no memory item {item_id}.")
    return _item(row)


async def list_items(tx: Tx, org_id: UUID, memory_id: UUID, scope: Scope, page: PageRequest) -> Sequence[Item]:
    query = SQL.list_items.format(order=page.order_by("created_at DESC"))
    rows = await tx.fetch(query, *in_scope(org_id, memory_id, scope), page.page_size, page.offset)
    return [_item(row) for row in rows]


def in_scope(org_id: UUID, memory_id: UUID, scope: Scope) -> tuple[object, ...]:
    """The first arguments of all statements that select items."""
    return (org_id, memory_id, scope.user_id, scope.session_id, scope.of_sessions, scope.of_user)


def _item(row: Row) -> Item:
    return Item(
        row["id"],
        row["memory_id"],
        row["user_id"],
        row["session_id"],
        row["type"],
        row["data"],
        row["metadata"],
        row["run_id"],
        row["created_at"],
        row["updated_at"],
    )


# --- memory stores and their files ----------------------------------------------------------------------------------
async def memory_store(tx: Tx, org_id: UUID, store_id: UUID) -> MemoryStore:
    """Raises NotFound."""
    return store_of(await tx.fetchrow(SQL.memory_store, org_id, store_id), store_id)


async def share_store(tx: Tx, org_id: UUID, store_id: UUID) -> MemoryStore:
    """Locks the row: it cannot be deleted until the transaction ends. Raises NotFound."""
    return store_of(await tx.fetchrow(SQL.share_store, org_id, store_id), store_id)


async def list_stores(
    tx: Tx, org_id: UUID, project_id: UUID | None, page: PageRequest
) -> tuple[Sequence[MemoryStore], int]:
    query = SQL.list_stores.format(order=page.order_by("created_at DESC"))
    rows = await tx.fetch(query, org_id, project_id, page.page_size, page.offset)
    return [store_of(row, row["id"]) for row in rows], await tx.fetchval(SQL.count_stores, org_id, project_id)


def store_of(row: Row | None, store_id: UUID) -> MemoryStore:
    if row is None:
        raise NotFound(f"There is no memory store {store_id}.")
    return MemoryStore(
        row["id"],
        row["project_id"],
        row["name"],
        row["description"],
        row["created_by"],
        row["created_at"],
        row["updated_at"],
    )


async def files(tx: Tx, org_id: UUID, store_id: UUID, user_id: str, prefix: str) -> Sequence[MemoryFile]:
    """Sorted by path, without their content."""
    return [_file(row) for row in await tx.fetch(SQL.list_memory_files, org_id, store_id, user_id, prefix)]


async def file(tx: Tx, org_id: UUID, store_id: UUID, user_id: str, path: str) -> MemoryFile | None:
    row = await tx.fetchrow(SQL.memory_file, org_id, store_id, user_id, path)
    return _file(row, content=True) if row is not None else None


async def write_file(
    tx: Tx, org_id: UUID, store: MemoryStore, file_id: UUID, user_id: str, path: str, content: str
) -> MemoryFile:
    values = (org_id, store.project_id, file_id, store.id, user_id, path, content)
    row = await tx.fetchrow(SQL.write_memory_file, *values)
    assert row is not None, "an upsert gives its row"
    return _file(row)


def _file(row: Row, *, content: bool = False) -> MemoryFile:
    return MemoryFile(
        row["id"],
        row["store_id"],
        row["user_id"],
        row["path"],
        row["size"],
        row["created_at"],
        row["updated_at"],
        row["content"] if content else None,
    )
