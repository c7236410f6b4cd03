"""Knowledge bases, built: items and their ingestion, search, deletion, the base's own host."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from stoa.bases.api import routes
from stoa.bases.checks import checks
from stoa.bases.deletions import Deletions
from stoa.bases.direct import PATH, DirectSearch
from stoa.bases.embedders import Embedders
from stoa.bases.evaluating import Evaluations
from stoa.bases.evaluations import evaluation_routes
from stoa.bases.exported import exported
from stoa.bases.host import host_routes
from stoa.bases.ingesting import Ingestion
from stoa.bases.items import Items
from stoa.bases.mcp import Mcp
from stoa.bases.metrics import IngestionMetrics, polls
from stoa.bases.ports import Projects, Transcriber
from stoa.bases.rerankers import Rerankers
from stoa.bases.searching import Search
from stoa.bases.service import KnowledgeBases
from stoa.bases.transcribing import Transcribing
from stoa.db.blobs import BlobStore
from stoa.documents import Converter
from stoa.http.component import Component, Kit, Started
from stoa.http.hosts import HostKind
from stoa.http.shortcut import route_of
from stoa.index import Index, Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class BasesComponent(Component):
    items: Items
    deletions: Deletions
    search: Search


@asynccontextmanager
async def open_component(
    kit: Kit,
    node_id: UUID,
    projects: Projects,
    blobs: BlobStore,
    embedders: Embedders,
    rerankers: Rerankers,
    transcriber: Transcriber | None,
    *,
    prepare: Started,
    domain: str,
    items_per_project_max: int,
    drain_seconds_max: float,
) -> AsyncGenerator[BasesComponent]:
    """`transcriber` reads pages without text; without one such pages are only named in warnings.
    `prepare` loads what a search needs before the server answers.
    """
    async with AsyncExitStack() as stack:
        index = Index()
        deletions = Deletions(kit.database, index, blobs, kit.ids)
        bases = KnowledgeBases(kit.database, index, embedders, projects, deletions, kit.ids, rerankers)
        items = Items(kit.database, index, blobs, deletions, kit.ids)
        metrics = IngestionMetrics()
        search = Search(kit.database, index, embedders, rerankers, metrics)
        # Separate from the conversations' converter, so that a folder of files does not delay a question.
        converter = Converter()
        stack.push_async_callback(converter.close)
        transcribing = Transcribing(kit.database, converter, transcriber)
        stack.push_async_callback(transcribing.close)
        ingestion = Ingestion(
            kit.database,
            index,
            blobs,
            converter,
            embedders,
            deletions,
            node_id,
            transcribing,
            metrics,
            per_project_max=items_per_project_max,
        )
        mcp = Mcp(bases, search)
        stack.push_async_callback(mcp.close)
        host = host_routes(bases, items, search, mcp, kit.gate)
        yield BasesComponent(
            items=items,
            deletions=deletions,
            search=search,
            routers={
                HostKind.API: [
                    routes(bases, items, search, kit.gate, domain),
                    evaluation_routes(Evaluations(kit.database, search), kit.gate),
                ],
                HostKind.KB: [host],
            },
            around={HostKind.KB: lambda app: DirectSearch(app, search, kit.gate, route_of(host, PATH))},
            checks=checks(kit.database, index, blobs),
            exported=exported(blobs),
            metrics=metrics.metrics(),
            polls=polls(),
            channels={"stoa_knowledge": ingestion.on_notification},
            background=[prepare, ingestion, Upkeep(kit.database)],
            heartbeats=[ingestion.heartbeat],
            after_gap=[ingestion.wake],
            drain=[lambda: transcribing.drain(drain_seconds_max)],
        )
