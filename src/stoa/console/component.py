"""The console, built: it stands in front of the api host's app and calls it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.console.api import Console
from stoa.console.documentation.api import Documentation
from stoa.console.ports import Sessions
from stoa.console.routes import account, chat, conversations, knowledge, overview, runs, signing, traces
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@asynccontextmanager
async def open_component(kit: Kit, sessions: Sessions) -> AsyncGenerator[Component]:
    """`sessions` turns an access key into what a browser may hold."""
    routes = [*signing.routes(sessions, kit.clock)]
    for pages in (chat, conversations, knowledge, runs, overview, traces, account):
        routes += pages.routes()
    yield Component(around={HostKind.API: lambda app: Console(Documentation(app), routes)})
