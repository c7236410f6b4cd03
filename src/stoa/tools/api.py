"""Tools on the api host: what a project's agents may call."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from stoa.db.idempotency import Once
from stoa.http import Acknowledgement, Data, DataList, Gate, IdempotencyKey, Paging, Routes, fingerprint, page_of, refusals
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.tools import rules, wire
from stoa.tools.service import Tools


def routes(tools: Tools, gate: Gate) -> Routes:
    router = Routes(tags=["tools"])
    reading, writing = gate("tools:read"), gate("tools:write")

    @router.get("/v1/tools", responses=refusals())
    async def list_tools(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))]
    ) -> DataList[wire.ToolWire]:
        """The tools that a conversation's `agent` may name."""
        return page_of(await tools.list(principal, page), wire.tool)

    @router.post("/v1/tools", status_code=201, responses=refusals(409))
    async def create_tool(body: wire.ToolBody, principal: Annotated[Principal, writing], idempotency_key: IdempotencyKey = None) -> Data[wire.ToolWire]:
        once = Once(idempotency_key, "tools", fingerprint(body.model_dump(mode="json"))) if idempotency_key else None
        return Data(data=wire.tool(await tools.create(principal, wire.new(body), once)))

    @router.get("/v1/tools/{tool_id}", responses=refusals(404))
    async def get_tool(tool_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.ToolWire]:
        return Data(data=wire.tool(await tools.get(principal, tool_id)))

    @router.put("/v1/tools/{tool_id}", responses=refusals(404, 409))
    async def update_tool(tool_id: UUID, body: wire.ToolBody, principal: Annotated[Principal, writing]) -> Data[wire.ToolWire]:
        """The whole definition anew; `secrets` left out keeps those that are there."""
        return Data(data=wire.tool(await tools.update(principal, tool_id, wire.new(body))))

    @router.delete("/v1/tools/{tool_id}", responses=refusals(404))
    async def delete_tool(tool_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        await tools.delete(principal, tool_id)
        return Acknowledgement(message="deleted")

    return router
