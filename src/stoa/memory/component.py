"""Builds the slice: memories, memory stores, and the ports that runs use."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.db.receipts import Receipts
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.memory.api import routes, store_routes
from stoa.memory.exported import EXPORTED
from stoa.memory.ports import Projects
from stoa.memory.recalling import Recalling
from stoa.memory.service import KINDS, Memories
from stoa.memory.stores import MemoryStores
from stoa.memory.worker import Housekeeping


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryComponent(Component):
    memories: Memories
    recalling: Recalling
    stores: MemoryStores


@asynccontextmanager
async def open_component(kit: Kit, projects: Projects) -> AsyncGenerator[MemoryComponent]:
    receipts = Receipts(kit.database, kit.ids, KINDS)
    memories = Memories(kit.database, projects, receipts, kit.ids)
    stores = MemoryStores(kit.database, projects, receipts, kit.ids)
    yield MemoryComponent(
        memories=memories,
        recalling=Recalling(kit.database),
        stores=stores,
        exported=EXPORTED,
        routers={HostKind.API: [routes(memories, kit.gate), store_routes(stores, kit.gate)]},
        background=[Housekeeping(receipts)],
    )
