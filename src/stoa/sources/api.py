"""Sources of knowledge bases, on the api host (contract section 7)."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query

from stoa.http import (
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    page_of,
    refusals,
    repeated,
)
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.sources import rules, wire
from stoa.sources.service import Sources

Items = Annotated[
    Literal["keep", "delete"],
    Query(description="What becomes of the source's items: deleted unless they are to be kept."),
]


def routes(sources: Sources, gate: Gate) -> Routes:
    router = Routes(tags=["knowledge sources"])
    reading, writing = gate("knowledge:read"), gate("knowledge:write")

    @router.get("/v1/knowledgebases/{knowledgebase_id}/sources", responses=refusals(404))
    async def list_sources(
        knowledgebase_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))],
    ) -> DataList[wire.SourceWire]:
        """The base's sources, newest first, each with its last sync."""
        return page_of(await sources.list(principal, knowledgebase_id, page), wire.source)

    @router.post("/v1/knowledgebases/{knowledgebase_id}/sources", status_code=201, responses=refusals(404, 409))
    async def create_source(
        knowledgebase_id: UUID,
        body: wire.SourceBody,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SourceWire]:
        """Nothing is fetched yet, unless `schedule` is an interval: then its first sync begins at once."""
        once = repeated(idempotency_key, f"sources/{knowledgebase_id}", body)
        return Data(data=wire.source(await sources.create(principal, knowledgebase_id, wire.new(body), once)))

    @router.get("/v1/knowledgebase-sources/{source_id}", responses=refusals(404))
    async def get_source(source_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.SourceWire]:
        return Data(data=wire.source(await sources.get(principal, source_id)))

    @router.put("/v1/knowledgebase-sources/{source_id}", responses=refusals(404))
    async def update_source(
        source_id: UUID, body: wire.SourceBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.SourceWire]:
        """The whole definition anew; `secrets` left out keeps those that are there. The next sync looks at everything
        again."""
        return Data(data=wire.source(await sources.update(principal, source_id, wire.new(body))))

    @router.delete("/v1/knowledgebase-sources/{source_id}", responses=refusals(404))
    async def delete_source(
        source_id: UUID, principal: Annotated[Principal, writing], items: Items = "delete"
    ) -> wire.SourceDeletedWire:
        """With its items, their chunks, vectors and files, unless `items=keep`: then they stay as if they had been
        uploaded."""
        return wire.SourceDeletedWire(
            message="deleted", deletion_id=await sources.delete(principal, source_id, keep_items=items == "keep")
        )

    @router.post("/v1/knowledgebase-sources/{source_id}/sync", status_code=202, responses=refusals(404))
    async def sync_source(
        source_id: UUID, principal: Annotated[Principal, writing], body: wire.SyncIn | None = None
    ) -> Data[wire.SyncWire]:
        """Begins a sync, or answers with the one that is under way."""
        confirmed = body is not None and body.confirm_deletions
        return Data(data=wire.sync(await sources.sync(principal, source_id, confirm_deletions=confirmed)))

    @router.get("/v1/knowledgebase-sources/{source_id}/sync", responses=refusals(404))
    async def get_sync(source_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.SyncWire]:
        """The sync under way with its progress, or the outcome of the last one."""
        return Data(data=wire.sync(await sources.latest_sync(principal, source_id)))

    @router.delete("/v1/knowledgebase-sources/{source_id}/sync", responses=refusals(404))
    async def cancel_sync(source_id: UUID, principal: Annotated[Principal, writing]) -> Data[wire.SyncWire]:
        """Ends the sync under way soon; what it did stays. Without one, the last as it is."""
        return Data(data=wire.sync(await sources.cancel(principal, source_id)))

    @router.get("/v1/knowledgebase-sources/{source_id}/syncs", responses=refusals(404))
    async def list_syncs(
        source_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SYNCS_SORTABLE))],
    ) -> DataList[wire.SyncWire]:
        """The last syncs, newest first."""
        return page_of(await sources.syncs(principal, source_id, page), wire.sync)

    @router.get("/v1/knowledgebase-sources/{source_id}/failures", responses=refusals(404))
    async def list_failures(
        source_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.FailureWire]:
        """What the last sync could not read, and why."""
        return page_of(await sources.failures(principal, source_id, page), wire.failure)

    return router
