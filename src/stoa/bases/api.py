"""Knowledge bases on the api host."""

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Form, Query, Request, UploadFile
from fastapi import File as FormFile
from starlette.responses import StreamingResponse

from stoa.bases import rules, wire, wire_in
from stoa.bases.items import Items, Upload
from stoa.bases.searching import Search
from stoa.bases.service import KnowledgeBases
from stoa.bases.types import Item, ItemStatus
from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
    repeated,
)
from stoa.http.wire import DeletedWire
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

Files = Annotated[list[UploadFile], FormFile(description="One or more files, together at most 128 MiB.")]
Input = Annotated[str | None, Form(description='JSON: `{"metadata": [{…}]}`, one object per file.')]
Ids = Annotated[str | None, Form(description="JSON array of item ids, one per file: each file replaces that item.")]
Statuses = Annotated[list[ItemStatus] | None, Query(description="Repeatable.")]


def routes(bases: KnowledgeBases, items: Items, search: Search, gate: Gate, domain: str) -> Routes:
    """The routes of the api host."""
    router = Routes(tags=["knowledge bases"])
    reading, writing = gate("knowledge:read"), gate("knowledge:write")
    _bases(router, bases, gate, domain)
    _reindexing(router, bases, gate, domain)
    _items(router, items, gate)

    @router.post(
        "/v1/knowledgebases/{knowledgebase_id}/upload",
        status_code=201,
        responses=refusals(404, 409, 413, 415),
    )
    async def upload_items(
        knowledgebase_id: UUID,
        principal: Annotated[Principal, writing],
        files: Files,
        input: Input = None,  # noqa: A002
        ids: Ids = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> wire.ItemsWire:
        """Adds files, or replaces items where `ids` names them. Answers at once; `status` tells how each goes on."""
        return await upload(items, principal, knowledgebase_id, files, input, ids, idempotency_key)

    @router.get("/v1/knowledgebases/{knowledgebase_id}/items", responses=refusals(404))
    async def list_items(
        knowledgebase_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.ITEMS_SORTABLE))],
        status: Statuses = None,
        source_id: UUID | None = None,
    ) -> DataList[wire.ItemWire]:
        """The base's items, newest uploaded first."""
        return page_of(await items.list(principal, knowledgebase_id, page, status, source_id), wire.item)

    @router.post("/v1/knowledgebases/{knowledgebase_id}/reprocess", responses=refusals(404))
    async def reprocess_failed(knowledgebase_id: UUID, principal: Annotated[Principal, writing]) -> wire.AgainWire:
        """Processes every item that failed again; `items` says how many."""
        return wire.AgainWire(message="ok", items=await items.reprocess_failed(principal, knowledgebase_id))

    @router.post("/v1/knowledgebases/{knowledgebase_id}/vector-search", responses=refusals(404))
    async def vector_search(
        knowledgebase_id: UUID, body: wire_in.SearchIn, principal: Annotated[Principal, reading]
    ) -> wire.SearchWire:
        """The base's most relevant chunks, best first."""
        return wire.found(await search.search(principal, knowledgebase_id, wire_in.asked(body)), explain=body.explain)

    @router.post("/v1/knowledgebases/{knowledgebase_id}/graph-search", responses=refusals(404))
    async def graph_search(
        knowledgebase_id: UUID, body: wire_in.GraphSearchIn, principal: Annotated[Principal, reading]
    ) -> Data[wire.GraphWire]:
        """For the platform's clients. No graph is made of a base here: the answer holds the passages of a search."""
        return Data(data=wire.graph(await search.search(principal, knowledgebase_id, wire_in.asked(body.search()))))

    return router


def _bases(router: Routes, bases: KnowledgeBases, gate: Gate, domain: str) -> None:
    reading, writing = gate("knowledge:read"), gate("knowledge:write")

    @router.get("/v1/knowledgebases", responses=refusals())
    async def list_bases(
        request: Request,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))],
        project_id: UUID | None = None,
    ) -> DataList[wire.BaseWire]:
        """The knowledge bases that the key may see, newest first."""
        return page_of(
            await bases.list(principal, page, project_id), lambda value: wire.base(value, domain, str(request.base_url))
        )

    @router.post("/v1/knowledgebases", status_code=201, responses=refusals(409))
    async def create_base(
        request: Request,
        body: wire_in.CreateBase,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.BaseWire]:
        """A new, empty base. `hostname` is its own name, `url` a base URL for its routes that works from here."""
        once = repeated(idempotency_key, "knowledgebases", body)
        made = await bases.create(principal, wire_in.settings(body), body.project_id, once)
        return Data(data=wire.base(made, domain, str(request.base_url)))

    @router.get("/v1/knowledgebases/{knowledgebase_id}", responses=refusals(404))
    async def get_base(
        request: Request, knowledgebase_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.BaseWire]:
        return Data(data=wire.base(await bases.get(principal, knowledgebase_id), domain, str(request.base_url)))

    @router.put("/v1/knowledgebases/{knowledgebase_id}", responses=refusals(404, 409))
    async def update_base(
        request: Request, knowledgebase_id: UUID, body: wire_in.UpdateBase, principal: Annotated[Principal, writing]
    ) -> Data[wire.BaseWire]:
        changed = await bases.update(principal, knowledgebase_id, wire_in.settings(body))
        return Data(data=wire.base(changed, domain, str(request.base_url)))

    @router.delete("/v1/knowledgebases/{knowledgebase_id}", responses=refusals(404))
    async def delete_base(knowledgebase_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with its items, chunks, vectors and files. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await bases.delete(principal, knowledgebase_id))


def _reindexing(router: Routes, bases: KnowledgeBases, gate: Gate, domain: str) -> None:
    writing = gate("knowledge:write")

    @router.post("/v1/knowledgebases/{knowledgebase_id}/reindex", status_code=202, responses=refusals(404, 409))
    async def reindex(
        request: Request, knowledgebase_id: UUID, body: wire_in.Reindex, principal: Annotated[Principal, writing]
    ) -> Data[wire.BaseWire]:
        """Builds a new index with other settings; the old one answers until it is complete. `reindex` in the base shows
        how far it is."""
        begun = await bases.reindex(principal, knowledgebase_id, wire_in.settings(body))
        return Data(data=wire.base(begun, domain, str(request.base_url)))

    @router.delete("/v1/knowledgebases/{knowledgebase_id}/reindex", responses=refusals(404))
    async def cancel_reindex(
        request: Request, knowledgebase_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.BaseWire]:
        """Gives up the index under way; the one that answers stays as it is."""
        return Data(
            data=wire.base(await bases.cancel_reindex(principal, knowledgebase_id), domain, str(request.base_url))
        )


def _items(router: Routes, items: Items, gate: Gate) -> None:
    reading, writing = gate("knowledge:read"), gate("knowledge:write")

    @router.get("/v1/knowledgebase-items/{item_id}", responses=refusals(404))
    async def get_item(item_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.ItemWire]:
        return Data(data=wire.item(await items.get(principal, item_id)))

    @router.patch("/v1/knowledgebase-items/{item_id}", responses=refusals(404))
    async def update_item(
        item_id: UUID, body: wire_in.UpdateItem, principal: Annotated[Principal, writing]
    ) -> Data[wire.ItemWire]:
        """New metadata, for filters and answers at once; the file is not processed again."""
        rules.check_metadata(body.metadata, "metadata")
        return Data(data=wire.item(await items.set_metadata(principal, item_id, body.metadata)))

    @router.delete("/v1/knowledgebase-items/{item_id}", responses=refusals(404))
    async def delete_item(item_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with its chunks, vectors and file; the next search cannot find it."""
        return DeletedWire(message="deleted", deletion_id=await items.delete(principal, item_id))

    @router.post("/v1/knowledgebase-items/{item_id}/reprocess", responses=refusals(404))
    async def reprocess_item(item_id: UUID, principal: Annotated[Principal, writing]) -> Data[wire.ItemWire]:
        """Reads, cuts and embeds the file anew; what is in the index answers until then."""
        return Data(data=wire.item(await items.reprocess(principal, item_id)))

    @router.get("/v1/knowledgebase-items/{item_id}/chunks", responses=refusals(404))
    async def list_chunks(
        item_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.ChunkWire]:
        """What searches find of an item: its text in chunks, in their order. A chunk may repeat the end of the one
        before it. Nothing until the item was processed."""
        return page_of(await items.chunks(principal, item_id, page), wire.chunk)

    @router.get("/v1/knowledgebase-items/{item_id}/content", response_class=StreamingResponse, responses=refusals(404))
    async def download_item(item_id: UUID, principal: Annotated[Principal, reading]) -> StreamingResponse:
        """The file, byte for byte, as an attachment."""
        return await content(items, await items.get(principal, item_id))


async def content(items: Items, item: Item) -> StreamingResponse:
    headers = {
        "Content-Length": str(item.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(item.name)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    return StreamingResponse(await items.content(item), media_type=item.mime_type, headers=headers)


async def upload(
    items: Items,
    principal: Principal,
    base_id: UUID,
    files: list[UploadFile],
    metadata: str | None,
    ids: str | None,
    idempotency_key: str | None,
) -> wire.ItemsWire:
    if len(files) > rules.FILES_PER_UPLOAD_MAX:
        raise rules.too_many_files()
    replaced = rules.ids_of(ids, len(files))
    described = rules.metadata_of(metadata, len(files))
    uploads = [
        Upload(file.file, file.filename, file.content_type, described[index], replaced[index] if replaced else None)
        for index, file in enumerate(files)
    ]
    body = fingerprint(
        {"metadata": described, "ids": [str(one) for one in replaced or ()], "names": [file.filename for file in files]}
    )
    once = IdempotencyKey(idempotency_key, f"items/{base_id}", body) if idempotency_key else None
    return wire.ItemsWire(data=[wire.item(one) for one in await items.upload(principal, base_id, uploads, once)])
