"""Builds tools: the definitions of projects, and the factory that makes tools from them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound
from stoa.tools.api import routes
from stoa.tools.exported import EXPORTED
from stoa.tools.factory import ToolFactory
from stoa.tools.service import Projects, Tools, Vault
from stoa.tools.types import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsComponent(Component):
    tools: Tools


@asynccontextmanager
async def open_component(
    kit: Kit, vault: Vault, projects: Projects, *, outbound: Outbound, programs: Sequence[Program]
) -> AsyncGenerator[ToolsComponent]:
    """`programs` are the MCP servers that the operator declares as commands."""
    async with AsyncExitStack() as stack:
        factory = ToolFactory(outbound=outbound, schemas=kit.schemas, programs=programs)
        stack.push_async_callback(factory.close)
        tools = Tools(kit.database, vault, projects, factory, kit.ids, kit.schemas)
        stack.push_async_callback(tools.stop)
        yield ToolsComponent(tools=tools, exported=EXPORTED, routers={HostKind.API: [routes(tools, kit.gate)]})
