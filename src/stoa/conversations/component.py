"""Conversations, built: their messages and files, forks, deletions with receipts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.conversations.api import PrincipalOf, routes
from stoa.conversations.app_sessions import app_session_routes
from stoa.conversations.checks import checks
from stoa.conversations.deletions import Deletions, Runs
from stoa.conversations.exported import exported
from stoa.conversations.links import FileLinks
from stoa.conversations.ports import Agents, Apps, Models, Projects
from stoa.conversations.reading import Reader
from stoa.conversations.service import Conversations
from stoa.conversations.worker import Housekeeping, polls
from stoa.db.blobs import BlobStore
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationsComponent(Component):
    conversations: Conversations
    links: FileLinks


@asynccontextmanager
async def open_component(
    kit: Kit,
    blobs: BlobStore,
    reader: Reader,
    journal: Journal,
    runs: Runs,
    models: Models,
    agents: Agents,
    projects: Projects,
    apps: Apps,
    principal_of: PrincipalOf,
) -> AsyncGenerator[ConversationsComponent]:
    deletions = Deletions(kit.database, blobs, journal, runs, kit.ids)
    conversations = Conversations(
        kit.database, blobs, models, agents, projects, apps, reader, deletions, kit.ids, kit.schemas
    )
    links = FileLinks(kit.secret, kit.clock)
    yield ConversationsComponent(
        conversations=conversations,
        links=links,
        routers={
            HostKind.API: [
                routes(conversations, blobs, kit.gate, links, principal_of),
                app_session_routes(conversations, kit.gate),
            ]
        },
        checks=checks(kit.database, blobs),
        exported=exported(blobs),
        polls=polls(),
        background=[Housekeeping(reader, deletions, kit.clock)],
    )
