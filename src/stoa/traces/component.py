"""Traces, built: the collector on its own host, reading, live tails, retention, the export of runs."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound
from stoa.outbound.posting import Poster
from stoa.traces.api import app_routes, routes, settings_routes, span_wire
from stoa.traces.checks import checks
from stoa.traces.collecting import collector_routes
from stoa.traces.configuring import Settings
from stoa.traces.exported import EXPORTED
from stoa.traces.exporting import Endpoint, ExportWorker
from stoa.traces.ports import Apps, Projects, Vault
from stoa.traces.service import Collector, Retention, Traces
from stoa.traces.tail import LivingKeys, Tails
from stoa.traces.worker import RetentionWorker


@dataclass(frozen=True, slots=True)
class Exporting:
    """How runs are exported: the outbound client, the vault that encrypts projects' headers, and the server's endpoint
    for projects that name none."""

    outbound: Outbound
    vault: Vault
    endpoint: Endpoint | None


def _poster(outbound: Outbound) -> Poster:
    return Poster(outbound, connections_max=20, seconds_max=30.0, answer_bytes_max=64 * 1024)


@asynccontextmanager
async def open_component(
    kit: Kit, projects: Projects, apps: Apps, living: LivingKeys, ways: Exporting, *, retention_days: float | None
) -> AsyncGenerator[Component]:
    """`retention_days` None: where a project sets no retention, its traces are kept."""
    outbound, vault = ways.outbound, ways.vault
    async with AsyncExitStack() as stack:
        guarded, trusted = _poster(outbound), _poster(outbound.trusted())
        stack.push_async_callback(guarded.close)
        stack.push_async_callback(trusted.close)
        collector, traces = Collector(kit.database), Traces(kit.database, projects)
        tails = Tails(kit.database, living, span_wire)
        exports = ExportWorker(kit.database, vault, guarded, trusted, ways.endpoint)
        settings = Settings(kit.database, projects, vault, exports.wake, allow_private=outbound.allow_private)
        collecting = collector_routes(collector, kit.gate)
        reading = routes(traces, tails, kit.gate), app_routes(traces, apps, kit.gate)
        yield Component(
            # Mounted on the api host too: the platform's tracing client drops the path of its base URL.
            routers={
                HostKind.API: [collecting, *reading, settings_routes(settings, kit.gate)],
                HostKind.COLLECTOR: [collecting],
            },
            checks=checks(),
            exported=EXPORTED,
            metrics=[*collector.metrics(), *exports.metrics()],
            background=[RetentionWorker(Retention(kit.database, kit.clock, retention_days)), exports],
            heartbeats=[exports.heartbeat],
            hang_up=[tails.stop],
        )
