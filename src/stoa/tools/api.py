"""Tools on the api host: what a project's agents may call."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from stoa.http import (
    Acknowledgement,
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
from stoa.http.bodies import DOCUMENT_LIMIT
from stoa.http.routing import limited
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
    async def create_tool(
        body: wire.ToolBody, principal: Annotated[Principal, writing], idempotency_key: IdempotencyKeyHeader = None
    ) -> Data[wire.ToolWire]:
        once = repeated(idempotency_key, "tools", body)
        return Data(data=wire.tool(await tools.create(principal, wire.new(body), once)))

    @router.post(
        "/v1/tools/import",
        status_code=201,
        responses=refusals(409) | {200: {"model": Data[wire.ImportWire], "description": "What would be made."}},
    )
    @limited(DOCUMENT_LIMIT)
    async def import_tools(
        body: wire.ImportBody,
        principal: Annotated[Principal, writing],
        response: Response,
        idempotency_key: IdempotencyKeyHeader = None,
        dry_run: Annotated[bool, Query(description="Says what would be made, and makes nothing.")] = False,
    ) -> Data[wire.ImportWire]:
        """One HTTP tool for each operation of an OpenAPI document; all are made, or none."""
        request = wire.import_request(body)
        if dry_run:
            response.status_code = 200
            return Data(data=wire.imported(await tools.plan(request)))
        once = repeated(idempotency_key, "tools/import", body)
        return Data(data=wire.imported(await tools.import_(principal, request, once)))

    @router.get("/v1/tools/{tool_id}", responses=refusals(404))
    async def get_tool(tool_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.ToolWire]:
        return Data(data=wire.tool(await tools.get(principal, tool_id)))

    @router.put("/v1/tools/{tool_id}", responses=refusals(404, 409))
    async def update_tool(
        tool_id: UUID, body: wire.ToolBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.ToolWire]:
        """The whole definition anew; `secrets` left out keeps those that are there."""
        return Data(data=wire.tool(await tools.update(principal, tool_id, lambda _: wire.new(body))))

    @router.patch("/v1/tools/{tool_id}", responses=refusals(404, 409))
    async def patch_tool(
        tool_id: UUID, body: wire.ToolPatch, principal: Annotated[Principal, writing]
    ) -> Data[wire.ToolWire]:
        """Some of its fields; what is left out stays."""
        return Data(data=wire.tool(await tools.update(principal, tool_id, lambda held: wire.patched(held, body))))

    @router.post("/v1/tools/{tool_id}/refresh", responses=refusals(404))
    async def refresh_tool(tool_id: UUID, principal: Annotated[Principal, writing]) -> Data[wire.ToolWire]:
        """Asks an MCP server what it offers now; where it cannot be asked, `problem` says why."""
        return Data(data=wire.tool(await tools.refresh(principal, tool_id)))

    @router.post("/v1/tools/{tool_id}/test", responses=refusals(404))
    async def test_tool(
        tool_id: UUID, body: wire.TestBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.TestWire]:
        """Makes one real call outside of any run, with its effects. The answer is what a model would receive."""
        return Data(data=wire.called(await tools.try_out(principal, tool_id, body.tool, body.arguments)))

    @router.delete("/v1/tools/{tool_id}", responses=refusals(404))
    async def delete_tool(tool_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        await tools.delete(principal, tool_id)
        return Acknowledgement(message="deleted")

    return router
