"""Workflows and apps, built."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.apps.admission import AppGate, PublicApps
from stoa.apps.api import app_routes, workflow_routes
from stoa.apps.exported import EXPORTED
from stoa.apps.ports import Definitions, Graphs, Projects
from stoa.apps.released import Released
from stoa.apps.resolving import Resolver
from stoa.apps.service import Apps
from stoa.apps.workflows import Workflows
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AppsComponent(Component):
    apps: Apps
    workflows: Workflows
    released: Released
    gate: AppGate
    """Admits requests to an app's own host."""


@asynccontextmanager
async def open_component(
    kit: Kit,
    projects: Projects,
    definitions: Definitions,
    graphs: Graphs,
    public: PublicApps,
    *,
    domain: str,
    public_url: str | None,
) -> AsyncGenerator[AppsComponent]:
    resolver = Resolver(definitions, graphs)
    workflows = Workflows(kit.database, projects, resolver, graphs, kit.ids)
    apps = Apps(kit.database, projects, resolver, kit.ids)
    yield AppsComponent(
        apps=apps,
        workflows=workflows,
        exported=EXPORTED,
        released=Released(kit.database),
        gate=AppGate(kit.gate, kit.database, public),
        routers={
            HostKind.API: [
                workflow_routes(workflows, graphs.node_types, kit.gate),
                app_routes(apps, kit.gate, domain, public_url),
            ],
        },
    )
