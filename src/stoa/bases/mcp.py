"""The search of a base as a tool of the Model Context Protocol: stateless streamable HTTP at `/mcp` on the base's host.

The SDK is loaded at the first request: its import takes as long as the rest of the server, and most servers never need
it.
"""

import asyncio
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from stoa import __version__
from stoa.bases import wire, wire_in
from stoa.bases.searching import Search
from stoa.bases.service import KnowledgeBases
from stoa.http.errors import explain
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor

if TYPE_CHECKING:
    import mcp_types
    from mcp.server.context import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

TOOL: Final = "search"
BODY_BYTES_MAX: Final = 256 * 1024
"""A search is a sentence and a filter."""
_CALLER: Final = "stoa.mcp.caller"


@dataclass(frozen=True, slots=True)
class _Caller:
    principal: Principal
    base_id: UUID


class Mcp:
    """`close` ends running requests. The base's host admits the caller before it hands a request over."""

    def __init__(self, bases: KnowledgeBases, search: Search) -> None:
        self._bases = bases
        self._search = search
        self._supervisor = Supervisor()
        self._opening = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None

    async def close(self) -> None:
        await self._supervisor.stop()

    async def serve(self, principal: Principal, base_id: UUID, scope: Scope, receive: Receive, send: Send) -> None:
        manager = await self._opened()
        await manager.handle_request({**scope, _CALLER: _Caller(principal, base_id)}, receive, send)

    async def _opened(self) -> "StreamableHTTPSessionManager":
        async with self._opening:
            if self._manager is None:
                manager = await asyncio.to_thread(self._load)
                ready = asyncio.Event()
                self._supervisor.once(_run(manager, ready), "knowledge.mcp")
                await ready.wait()
                self._manager = manager
            return self._manager

    def _load(self) -> "StreamableHTTPSessionManager":
        """The SDK's own check of the Host header stays off: the base's host has checked it already, and a page in a
        browser has no key to send."""
        lowlevel = import_module("mcp.server.lowlevel")
        managing = import_module("mcp.server.streamable_http_manager")
        server = lowlevel.Server(
            "stoa-knowledge-base", version=__version__, on_list_tools=self._list, on_call_tool=self._call
        )
        manager: StreamableHTTPSessionManager = managing.StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=BODY_BYTES_MAX
        )
        return manager

    async def _list(
        self, context: "ServerRequestContext[Any]", _params: "mcp_types.PaginatedRequestParams | None"
    ) -> "mcp_types.ListToolsResult":
        types = import_module("mcp_types")
        caller = _caller(context)
        base = await self._bases.get(caller.principal, caller.base_id)
        about = f" It holds: {base.description}" if base.description else ""
        description = (
            f"Searches the knowledge base {base.name!r} and returns its most relevant passages, best first, "
            f"each with its source.{about}"
        )
        annotations = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
        tool = types.Tool(
            name=TOOL,
            title=f"Search {base.name}",
            description=description,
            input_schema=_schema(),
            annotations=annotations,
        )
        found: mcp_types.ListToolsResult = types.ListToolsResult(tools=[tool])
        return found

    async def _call(
        self, context: "ServerRequestContext[Any]", params: "mcp_types.CallToolRequestParams"
    ) -> "mcp_types.CallToolResult":
        """Errors that the model can correct are the tool's result, as the protocol asks."""
        if params.name != TOOL:
            return _result(f"There is no tool {params.name!r}; there is {TOOL}.", None, failed=True)
        caller = _caller(context)
        try:
            body = wire_in.ToolSearchIn.model_validate(params.arguments or {})
            found = wire.found(
                await self._search.search(caller.principal, caller.base_id, wire_in.asked(body)), explain=body.explain
            )
        except ValidationError as error:
            found_wrong = explain(({**one, "loc": ("body", *one["loc"])} for one in error.errors()), wire_in.SearchIn)
            return _result("; ".join(f"{field} {reason}" for field, reason in found_wrong.items()), None, failed=True)
        except AppError as error:
            return _result(error.message, None, failed=True)
        return _result(
            found.model_dump_json(exclude_none=True), found.model_dump(mode="json", exclude_none=True), failed=False
        )


async def _run(manager: "StreamableHTTPSessionManager", ready: asyncio.Event) -> None:
    async with manager.run():
        ready.set()
        await asyncio.Event().wait()  # until it is cancelled


def _caller(context: "ServerRequestContext[Any]") -> _Caller:
    assert context.request is not None, "it came over HTTP"
    caller: _Caller = context.request.scope[_CALLER]
    return caller


def _schema() -> dict[str, Any]:
    schema = wire_in.ToolSearchIn.model_json_schema()
    schema.pop("title", None)
    return schema


def _result(text: str, structured: dict[str, Any] | None, *, failed: bool) -> "mcp_types.CallToolResult":
    types = import_module("mcp_types")
    result: mcp_types.CallToolResult = types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=structured, is_error=failed
    )
    return result
