"""Builds the console, which wraps the api host's app and calls it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from stoa.console.api import Console
from stoa.console.documentation.api import Documentation
from stoa.console.ports import People, Sessions
from stoa.console.routes import (
    account,
    apps,
    audit,
    chat,
    conversations,
    doctor,
    entering,
    evaluations,
    finding,
    items,
    knowledge,
    members,
    overview,
    person,
    project,
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
    chat, conversations, knowledge, items, sources, evaluations, apps, triggers, workflows, tools, runs, overview,
    traces, audit, account, members, settings, project, doctor, finding,
)  # fmt: skip


@asynccontextmanager
async def open_component(
    kit: Kit, sessions: Sessions, people: People, public_url: str | None = None
) -> AsyncGenerator[Component]:
    """`sessions` opens browser sessions for access keys, `people` for users."""
    routes = [
        *signing.routes(sessions, people, kit.clock, public_url),
        *entering.routes(people, kit.clock),
        *person.routes(people),
    ]
    for pages in PAGES:
        routes += pages.routes()
    yield Component(around={HostKind.API: lambda app: Console(Documentation(app), routes, people, public_url)})
