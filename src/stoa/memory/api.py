"""Memories and memory stores on the api host (contract section 6)."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AfterValidator

from stoa.http import Data, DataList, Gate, IdempotencyKeyHeader, Paging, Routes, page_of, refusals, repeated
from stoa.http.wire import DeletedWire, storable
from stoa.kernel.errors import BadRequest
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.memory import rules, wire
from stoa.memory.service import Memories
from stoa.memory.stores import MemoryStores
from stoa.memory.types import Scope

UserId = Annotated[wire.UserId, Query(description="The end user, as the runs of apps name it.")]
SessionId = Annotated[wire.SessionId | None, Query(description="Only of this session.")]
Scopes = Annotated[
    list[Literal["user", "session"]] | None,
    Query(
        max_length=2,
        description="`session`: items of sessions; `user`: those of no session. Left out: of the session that is named,"
        " or of none.",
    ),
]
Path = Annotated[str, Query(description="Relative, without the segments . and ..")]
Prefix = Annotated[
    str,
    Query(max_length=rules.PATH_CHARACTERS_MAX, description="What their paths begin with."),
    AfterValidator(storable),
]


def routes(memories: Memories, gate: Gate) -> Routes:
    router = Routes(tags=["memory"])
    reading, writing = gate("memory:read"), gate("memory:write")

    @router.get("/v1/memories", responses=refusals())
    async def list_memories(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.MEMORIES_SORTABLE))],
        project_id: UUID | None = None,
    ) -> DataList[wire.MemoryWire]:
        """Memories, newest first."""
        return page_of(await memories.list(principal, project_id, page), wire.memory)

    @router.post("/v1/memories", status_code=201, responses=refusals(409))
    async def create_memory(
        body: wire.CreateMemory,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.MemoryWire]:
        """A memory, whose id an agent names as its `memory.backend.memory_id`."""
        once = repeated(idempotency_key, "memories", body)
        return Data(data=wire.memory(await memories.create(principal, body.name, body.project_id, once)))

    @router.get("/v1/memories/{memory_id}", responses=refusals(404))
    async def get_memory(memory_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.MemoryWire]:
        return Data(data=wire.memory(await memories.get(principal, memory_id)))

    @router.delete("/v1/memories/{memory_id}", responses=refusals(404))
    async def delete_memory(memory_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with all items. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await memories.delete(principal, memory_id))

    _items(router, memories, gate)
    return router


def _items(router: Routes, memories: Memories, gate: Gate) -> None:
    reading, writing = gate("memory:read"), gate("memory:write")

    @router.get("/v1/memories/{memory_id}/items", responses=refusals(404))
    async def list_memory_items(
        memory_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.ITEMS_SORTABLE, size_max=rules.PAGE_SIZE_MAX))],
        user_id: UserId,
        session_id: SessionId = None,
        include_scope: Scopes = None,
    ) -> DataList[wire.MemoryItemWire]:
        """What is remembered of a user, newest first: of the session that is named, else of no session."""
        scope = _scope(user_id, session_id, include_scope)
        return page_of(await memories.items(principal, memory_id, scope, page), wire.item)

    @router.post("/v1/memories/{memory_id}/items", status_code=201, responses=refusals(404, 409))
    async def create_memory_item(
        memory_id: UUID,
        body: wire.CreateMemoryItem,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.MemoryItemWire]:
        """Adds a message to what is remembered of a user."""
        once = repeated(idempotency_key, f"memories/{memory_id}/items", body)
        return Data(data=wire.item(await memories.add(principal, memory_id, wire.new_item(body), once)))

    @router.delete("/v1/memories/{memory_id}/items", responses=refusals(404))
    async def delete_memory_items(
        memory_id: UUID,
        principal: Annotated[Principal, writing],
        user_id: UserId,
        session_id: SessionId = None,
        include_scope: Scopes = None,
    ) -> wire.ClearedWire:
        """For good: a user's items of the session that is named, else those of no session; with both scopes, all."""
        scope = _scope(user_id, session_id, include_scope)
        return wire.cleared(await memories.clear(principal, memory_id, scope))


def _scope(user_id: str, session_id: str | None, scopes: list[Literal["user", "session"]] | None) -> Scope:
    if scopes:
        return Scope(user_id, session_id, "session" in scopes, "user" in scopes)
    return Scope(user_id, session_id, session_id is not None, session_id is None)


def store_routes(stores: MemoryStores, gate: Gate) -> Routes:
    router = Routes(tags=["memory"])
    reading, writing = gate("memory:read"), gate("memory:write")

    @router.get("/v1/memory-stores", responses=refusals())
    async def list_memory_stores(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.MEMORIES_SORTABLE))],
        project_id: UUID | None = None,
    ) -> DataList[wire.MemoryStoreWire]:
        """Memory stores, newest first."""
        return page_of(await stores.list(principal, project_id, page), wire.memory_store)

    @router.post("/v1/memory-stores", status_code=201, responses=refusals(409))
    async def create_memory_store(
        body: wire.CreateMemoryStore,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.MemoryStoreWire]:
        """A store of notes, whose id an agent names as its `memory_store.backend.memory_store_id`."""
        once = repeated(idempotency_key, "memory-stores", body)
        made = await stores.create(principal, body.name, body.description, body.project_id, once)
        return Data(data=wire.memory_store(made))

    @router.get("/v1/memory-stores/{store_id}", responses=refusals(404))
    async def get_memory_store(store_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.MemoryStoreWire]:
        return Data(data=wire.memory_store(await stores.get(principal, store_id)))

    @router.put("/v1/memory-stores/{store_id}", responses=refusals(404))
    async def update_memory_store(
        store_id: UUID, body: wire.UpdateMemoryStore, principal: Annotated[Principal, writing]
    ) -> Data[wire.MemoryStoreWire]:
        return Data(data=wire.memory_store(await stores.update(principal, store_id, body.name, body.description)))

    @router.delete("/v1/memory-stores/{store_id}", responses=refusals(404))
    async def delete_memory_store(store_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with all files. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await stores.delete(principal, store_id))

    _files(router, stores, gate)
    return router


def _files(router: Routes, stores: MemoryStores, gate: Gate) -> None:
    reading, writing = gate("memory:read"), gate("memory:write")

    @router.get("/v1/memory-stores/{store_id}/files", responses=refusals(404))
    async def list_memory_files(
        store_id: UUID, principal: Annotated[Principal, reading], user_id: UserId, path: Prefix = ""
    ) -> Data[list[wire.MemoryFileWire]]:
        """A user's files by path, without their content; all of them at once."""
        return Data(data=wire.files(await stores.files(principal, store_id, user_id, path)))

    @router.get("/v1/memory-stores/{store_id}/files/content", responses=refusals(404))
    async def get_memory_file(
        store_id: UUID, principal: Annotated[Principal, reading], user_id: UserId, path: Path
    ) -> Data[wire.MemoryFileWire]:
        found = await stores.read(principal, store_id, user_id, _checked(path))
        return Data(data=wire.file(found))

    @router.put("/v1/memory-stores/{store_id}/files", responses=refusals(404, 409))
    async def write_memory_file(
        store_id: UUID, body: wire.WriteMemoryFile, principal: Annotated[Principal, writing]
    ) -> Data[wire.MemoryFileWire]:
        """Creates a file of a user, or takes its place."""
        path = _checked(body.path)
        return Data(data=wire.file(await stores.write(principal, store_id, body.user_id, path, body.content)))

    @router.delete("/v1/memory-stores/{store_id}/files", responses=refusals(404))
    async def delete_memory_file(
        store_id: UUID, principal: Annotated[Principal, writing], user_id: UserId, path: Path
    ) -> DeletedWire:
        """For good. The receipt is at /v1/deletions/{deletion_id}."""
        receipt = await stores.remove(principal, store_id, user_id, _checked(path))
        return DeletedWire(message="deleted", deletion_id=receipt)


def _checked(path: str) -> str:
    """In one spelling of its characters. Raises BadRequest."""
    if problem := rules.path_problem(path):
        raise BadRequest.field("path", problem)
    return rules.one_spelling(path)
