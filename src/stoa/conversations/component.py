"""Conversations, built: their messages and files, forks, deletions with receipts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.conversations.api import routes
from stoa.conversations.checks import checks
from stoa.conversations.deletions import Deletions, Runs
from stoa.conversations.reading import Reader
from stoa.conversations.service import Agents, Conversations, Models, Projects
from stoa.conversations.worker import Housekeeping, polls
from stoa.db.blobs import BlobStore
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.journal import Journal


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
) -> AsyncGenerator[Component]:
    deletions = Deletions(kit.database, blobs, journal, runs, kit.ids)
    conversations = Conversations(
        kit.database, blobs, models, agents, projects, reader, deletions, kit.ids, kit.schemas
    )
    yield Component(
        routers={HostKind.API: [routes(conversations, blobs, kit.gate)]},
        checks=checks(kit.database, blobs),
        polls=polls(),
        background=[Housekeeping(reader, deletions)],
    )
