"""The console, built: it stands in front of the api host's app and calls it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from stoa.console.api import Console
from stoa.console.documentation.api import Documentation
from stoa.console.ports import Sessions
from stoa.console.routes import (
    account,
    apps,
    audit,
    chat,
    conversations,
    evaluations,
    knowledge,
    overview,
    runs,
    settings,
    signing,
    sources,
    tools,
    traces,
    triggers,
    workflows,
)
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind

PAGES: Final = (
    chat, conversations, knowledge, sources, evaluations, apps, triggers, workflows, tools, runs, overview, traces,
    audit, account, settings,
)  # fmt: skip


@asynccontextmanager
async def open_component(kit: Kit, sessions: Sessions) -> AsyncGenerator[Component]:
    """`sessions` turns an access key into what a browser may hold."""
    routes = [*signing.routes(sessions, kit.clock)]
    for pages in PAGES:
        routes += pages.routes()
    yield Component(around={HostKind.API: lambda app: Console(Documentation(app), routes)})
