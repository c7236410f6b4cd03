"""A knowledge base on its own host: what is uploaded to it, listed and found in it."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stoa.bases import dialects, rules, wire, wire_in
from stoa.bases.api import Files, Ids, Input, Statuses, content, upload
from stoa.bases.direct import refused, searched
from stoa.bases.items import Items
from stoa.bases.mcp import BODY_BYTES_MAX, Mcp
from stoa.bases.searching import Search
from stoa.bases.service import KnowledgeBases
from stoa.http import Data, DataList, Gate, IdempotencyKeyHeader, Paging, Routes, page_of, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import BodyLimit, allow
from stoa.http.hosts import SUBJECT
from stoa.http.wire import DeletedWire
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, of the base whose host it is."""

    principal: Principal
    base_id: UUID


async def _admit(bases: KnowledgeBases, scope: Scope, principal: Principal) -> Caller:
    """What the key may not see is 403 here, whether it exists or not (contract section 3)."""
    base_id = _named(scope[SUBJECT])
    if not await bases.has(principal, base_id):
        raise refused(base_id)
    return Caller(principal, base_id)


def _named(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError as error:
        raise NotFound(f"There is no knowledge base {name}.") from error


def _searching(bases: KnowledgeBases, search: Search, gate: Gate, permission: str) -> Any:
    """A search asks in its own transaction whether the base may be seen. Asking before, so that a body is not looked at
    first, takes another one only where nobody with the same reach has searched the base."""

    async def admitted(request: Request, principal: Annotated[Principal, gate(permission)]) -> Caller:
        base_id = _named(request.scope[SUBJECT])
        if not search.has_seen(principal, base_id):
            return await _admit(bases, request.scope, principal)
        return Caller(principal, base_id)

    return Depends(admitted)


def _admission(bases: KnowledgeBases, gate: Gate, permission: str) -> Any:
    async def admitted(request: Request, principal: Annotated[Principal, gate(permission)]) -> Caller:
        return await _admit(bases, request.scope, principal)

    return Depends(admitted)


class _McpRoute:
    """`/mcp`, a plain ASGI endpoint: the protocol's SDK reads and answers the request itself."""

    def __init__(self, bases: KnowledgeBases, gate: Gate, mcp: Mcp) -> None:
        self._bases = bases
        self._gate = gate
        self._mcp = mcp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        principal = await self._gate.admit(request, bearer_token(request), "knowledge:read")
        caller = await _admit(self._bases, scope, principal)
        allow(scope, BodyLimit(BODY_BYTES_MAX))
        await self._mcp.serve(caller.principal, caller.base_id, scope, receive, send)


def host_routes(bases: KnowledgeBases, items: Items, search: Search, mcp: Mcp, gate: Gate) -> Routes:
    router = Routes(tags=["knowledge base"])
    reading = _admission(bases, gate, "knowledge:read")
    searching = _searching(bases, search, gate, "knowledge:read")
    _items(router, items, reading, _admission(bases, gate, "knowledge:write"))
    router.routes.append(
        Route("/mcp", _McpRoute(bases, gate, mcp), methods=["GET", "POST", "DELETE"], include_in_schema=False)
    )

    @router.post("/v1/documents/search", responses=refusals(404))
    async def search_documents(body: wire_in.SearchIn, caller: Annotated[Caller, searching]) -> wire.SearchWire:
        """The base's most relevant chunks, best first."""
        return wire.found(
            await searched(search, caller.principal, caller.base_id, wire_in.asked(body)), explain=body.explain
        )

    @router.post("/v1/vector_stores/{vector_store_id}/search", responses=refusals(404))
    async def search_vector_store(
        vector_store_id: UUID, body: dialects.VectorStoreSearch, caller: Annotated[Caller, searching]
    ) -> dialects.ResultsWire:
        """The same search in the shape of OpenAI's vector stores; the id is the base's."""
        if vector_store_id != caller.base_id:
            raise NotFound(f"This host serves the vector store {caller.base_id} alone.")
        return dialects.results(body, await searched(search, caller.principal, caller.base_id, dialects.asked(body)))

    return router


def _items(router: Routes, items: Items, reading: Any, writing: Any) -> None:
    @router.post("/", status_code=201, responses=refusals(404, 409, 413, 415))
    async def upload_here(
        caller: Annotated[Caller, writing],
        files: Files,
        input: Input = None,  # noqa: A002
        ids: Ids = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> wire.ItemsWire:
        """Adds files, or replaces items where `ids` names them. Answers at once; `status` tells how each goes on."""
        return await upload(items, caller.principal, caller.base_id, files, input, ids, idempotency_key)

    @router.get("/v1/items", responses=refusals(404))
    async def list_items_here(
        caller: Annotated[Caller, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.ITEMS_SORTABLE))],
        status: Statuses = None,
        source_id: UUID | None = None,
    ) -> DataList[wire.ItemWire]:
        """The base's items, newest uploaded first."""
        return page_of(await items.list(caller.principal, caller.base_id, page, status, source_id), wire.item)

    @router.get("/v1/items/{item_id}", responses=refusals(404))
    async def get_item_here(item_id: UUID, caller: Annotated[Caller, reading]) -> Data[wire.ItemWire]:
        return Data(data=wire.item(await items.get(caller.principal, item_id, caller.base_id)))

    @router.delete("/v1/items/{item_id}", responses=refusals(404))
    async def delete_item_here(item_id: UUID, caller: Annotated[Caller, writing]) -> DeletedWire:
        """For good, with its chunks, vectors and file; the next search cannot find it."""
        return DeletedWire(message="deleted", deletion_id=await items.delete(caller.principal, item_id, caller.base_id))

    @router.post("/v1/items/{item_id}/reprocess", responses=refusals(404))
    async def reprocess_item_here(item_id: UUID, caller: Annotated[Caller, writing]) -> Data[wire.ItemWire]:
        """Reads, cuts and embeds the file anew; what is in the index answers until then."""
        return Data(data=wire.item(await items.reprocess(caller.principal, item_id, caller.base_id)))

    @router.patch("/v1/items/{item_id}", responses=refusals(404))
    async def update_item_here(
        item_id: UUID, body: wire_in.UpdateItem, caller: Annotated[Caller, writing]
    ) -> Data[wire.ItemWire]:
        """New metadata, for filters and answers at once; the file is not processed again."""
        rules.check_metadata(body.metadata, "metadata")
        return Data(data=wire.item(await items.set_metadata(caller.principal, item_id, body.metadata, caller.base_id)))

    @router.get("/v1/items/{item_id}/content", response_class=StreamingResponse, responses=refusals(404))
    async def download_item_here(item_id: UUID, caller: Annotated[Caller, reading]) -> StreamingResponse:
        """The file, byte for byte, as an attachment."""
        return await content(items, await items.get(caller.principal, item_id, caller.base_id))
