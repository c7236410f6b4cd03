"""Builds the slice: sources, and the worker that syncs them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound
from stoa.sources.api import routes
from stoa.sources.exported import EXPORTED
from stoa.sources.factory import SourceFactory
from stoa.sources.ports import Deletions, Items, Vault
from stoa.sources.service import Sources
from stoa.sources.syncing import Syncing
from stoa.sources.worker import SyncWorker, polls


@asynccontextmanager
async def open_component(
    kit: Kit,
    node_id: UUID,
    vault: Vault,
    items: Items,
    deletions: Deletions,
    *,
    outbound: Outbound,
    directories: Sequence[Path],
    cache: Path,
    syncs_per_project_max: int,
) -> AsyncGenerator[Component]:
    """`directories` of this machine may be read by sources; `cache` holds this node's clones of repositories."""
    async with AsyncExitStack() as stack:
        factory = SourceFactory(outbound=outbound, directories=directories, cache=cache)
        stack.push_async_callback(factory.close)
        sources = Sources(kit.database, vault, factory, deletions, kit.ids, kit.clock)
        worker = SyncWorker(
            kit.database,
            Syncing(kit.database, items, deletions, factory, vault),
            sources,
            factory,
            kit.ids,
            kit.clock,
            node_id,
            per_project_max=syncs_per_project_max,
        )
        yield Component(
            exported=EXPORTED,
            routers={HostKind.API: [routes(sources, kit.gate)]},
            metrics=worker.metrics(),
            polls=polls(),
            channels={"stoa_sources": worker.on_notification},
            background=[worker],
            heartbeats=[worker.heartbeat],
            after_gap=[worker.wake],
        )
