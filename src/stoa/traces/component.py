"""Traces, built: the collector on its own host, reading, retention."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.traces.api import collector_routes, routes
from stoa.traces.checks import checks
from stoa.traces.ports import Projects
from stoa.traces.service import Collector, Retention, Traces
from stoa.traces.worker import RetentionWorker


@asynccontextmanager
async def open_component(kit: Kit, projects: Projects, *, retention_days: float | None) -> AsyncGenerator[Component]:
    """`retention_days` None keeps every trace that was sent."""
    collector = Collector(kit.database)
    collecting = collector_routes(collector, kit.gate)
    yield Component(
        # On the api host too: the platform's tracing client drops every path of its base URL.
        routers={
            HostKind.API: [collecting, routes(Traces(kit.database, projects), kit.gate)],
            HostKind.COLLECTOR: [collecting],
        },
        checks=checks(),
        metrics=collector.metrics(),
        background=[RetentionWorker(Retention(kit.database, kit.clock, retention_days))] if retention_days else [],
    )
