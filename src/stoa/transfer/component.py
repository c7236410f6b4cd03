"""Builds the slice: exports and imports of projects. The slices declare what they contain."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.transfer.api import routes
from stoa.transfer.exports import Exports
from stoa.transfer.ports import Organizations
from stoa.transfer.service import Imports


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferComponent(Component):
    exports: Exports
    imports: Imports


@asynccontextmanager
async def open_component(
    kit: Kit, organizations: Organizations, others: list[Component]
) -> AsyncGenerator[TransferComponent]:
    exported = [table for component in others for table in component.exported]
    exports = Exports(kit.database, kit.ids, kit.clock, exported)
    imports = Imports(kit.database, kit.ids, kit.clock, exported)
    yield TransferComponent(
        exports=exports,
        imports=imports,
        routers={HostKind.API: [routes(exports, imports, organizations, kit.gate)]},
        background=[exports, imports],
    )
