"""Workflows and apps, built."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.apps.admission import AppGate, PublicApps
from stoa.apps.api import app_routes, workflow_routes
from stoa.apps.ports import Definitions, Projects
from stoa.apps.service import Apps
from stoa.apps.workflows import Workflows
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AppsComponent(Component):
    apps: Apps
    gate: AppGate
    """Admits requests to an app's own host."""


@asynccontextmanager
async def open_component(
    kit: Kit,
    projects: Projects,
    definitions: Definitions,
    public: PublicApps,
    *,
    domain: str,
    public_url: str | None,
) -> AsyncGenerator[AppsComponent]:
    workflows = Workflows(kit.database, projects, definitions, kit.ids)
    apps = Apps(kit.database, projects, definitions, kit.ids)
    yield AppsComponent(
        apps=apps,
        gate=AppGate(kit.gate, kit.database, public),
        routers={
            HostKind.API: [workflow_routes(workflows, kit.gate), app_routes(apps, kit.gate, domain, public_url)],
        },
    )
