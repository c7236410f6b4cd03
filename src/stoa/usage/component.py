"""Builds the slice: usage reports, and the worker that sums the bill."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.usage.api import routes
from stoa.usage.service import UsageReports
from stoa.usage.worker import Summing


@asynccontextmanager
async def open_component(kit: Kit) -> AsyncGenerator[Component]:
    yield Component(
        routers={HostKind.API: [routes(UsageReports(kit.database), kit.gate, kit.clock)]},
        background=[Summing(kit.database)],
    )
