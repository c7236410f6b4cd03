"""Organizations, projects and keys, built."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.access.api import routes
from stoa.access.service import Access
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@asynccontextmanager
async def open_component(kit: Kit, access: Access) -> AsyncGenerator[Component]:
    """`access` is made before the kit, because the kit's gate asks it who a credential belongs to."""
    yield Component(routers={HostKind.API: [routes(access, kit.gate)]})
