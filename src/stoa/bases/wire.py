"""The JSON shapes of answers about knowledge bases, items and searches (contract section 7). Requests: `wire_in`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from stoa.bases.searching import shown
from stoa.bases.types import Chunking, EmbedderSpec, Item, KnowledgeBase, Ocr, Retriever
from stoa.http import Timestamp, Wire
from stoa.index import Chunk, Found


class EmbedderWire(Wire):
    provider: str
    model: str
    dimensions: int
    connection_id: UUID | None


class ChunkingWire(Wire):
    characters_max: int
    tokens_max: int | None


class RerankerWire(Wire):
    provider: str
    connection_id: UUID | None
    model: str | None


class RetrieverWire(Wire):
    mode: str
    alpha: float
    top_k: int
    reranker: RerankerWire | None


class ReindexWire(Wire):
    """A re-index under way: `items_done` of the `items` that answer are in the new index. It waits for `items_failed`:
    process those again, delete them, or cancel it."""

    embedder: EmbedderWire
    chunking: ChunkingWire
    language: str
    items: int
    items_done: int
    items_failed: int


class BaseWire(Wire):
    """`flow` and the fields after it: what the platform's clients said of ingestion. Lists leave the flow out."""

    id: UUID
    name: str
    description: str | None
    project_id: UUID
    hostname: str
    url: str
    embedder: EmbedderWire
    chunking: ChunkingWire
    retriever: RetrieverWire
    language: str
    ocr: Ocr
    item_count: int
    chunk_count: int
    reindex: ReindexWire | None
    flow: dict[str, Any] | None
    flow_ui: dict[str, Any] | None
    runtime_id: UUID | None
    workflow_id: UUID | None
    workflow_version_id: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class ProgressWire(Wire):
    """What is done, and of how much where that is known."""

    pages: int | None
    pages_total: int | None
    chunks: int | None
    chunks_total: int | None


class ItemErrorWire(Wire):
    code: str
    message: str


class ItemWire(Wire):
    """`searchable` says whether a version of the item answers searches: while a replacement is processed the old one
    does."""

    id: UUID
    knowledgebase_id: UUID
    name: str
    status: Literal["pending", "processing", "processed", "failed"]
    metadata: dict[str, Any]
    size: int
    mime_type: str
    sha256: str
    searchable: bool
    progress: ProgressWire | None
    warnings: Sequence[str] | None
    error: ItemErrorWire | None
    source_id: UUID | None
    uploaded_at: Timestamp
    processed_at: Timestamp | None


class ItemsWire(Wire):
    data: Sequence[ItemWire]


class AgainWire(Wire):
    message: Literal["ok"]
    items: int


class HitWire(Wire):
    """`score` is between 0 and 1, higher is better, comparable within one answer. `snippet` is HTML with the matched
    words in <mark>."""

    id: UUID
    content: str
    metadata: dict[str, Any]
    score: float
    snippet: str | None
    explain: dict[str, Any] | None


class ChunkWire(Wire):
    """`position` counts from 0 in the item, `page` from 1. `id` is that of a search's hit."""

    id: UUID
    position: int
    page: int | None
    heading: str | None
    content: str


class SearchWire(Wire):
    data: Sequence[HitWire]
    explain: dict[str, Any] | None


class GraphWire(Wire):
    """`content` is the passages, the best first; `documents` are the same with their metadata."""

    content: str
    documents: Sequence[HitWire]


# --- values to shapes ------------------------------------------------------------------------------------------
def base(value: KnowledgeBase, domain: str, root: str) -> BaseWire:
    """`root` is the api's base URL as the caller reached it."""
    building = value.building
    return BaseWire(
        id=value.id,
        name=value.name,
        description=value.description,
        project_id=value.project_id,
        hostname=f"{value.id}.kb.{domain}",
        url=f"{root.rstrip('/')}/kb/{value.id}",
        embedder=_embedder(value.embedder),
        chunking=_chunking(value.chunking),
        retriever=_retriever(value.retriever),
        language=value.language,
        ocr=value.ocr,
        item_count=value.item_count,
        chunk_count=value.chunk_count,
        reindex=ReindexWire(
            embedder=_embedder(building.embedder),
            chunking=_chunking(building.chunking),
            language=building.language,
            items=value.served_count,
            items_done=value.built_count,
            items_failed=value.missed_count,
        )
        if building
        else None,
        flow=value.ingestion.get("flow"),
        flow_ui=value.ingestion.get("flow_ui"),
        runtime_id=value.ingestion.get("runtime_id"),
        workflow_id=value.ingestion.get("workflow_id"),
        workflow_version_id=value.ingestion.get("workflow_version_id"),
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def chunk(value: Chunk) -> ChunkWire:
    return ChunkWire(id=value.id, position=value.position, page=value.page, heading=value.heading, content=value.text)


def item(value: Item) -> ItemWire:
    progress = (
        None
        if value.pages_done is None and value.chunks_done is None
        else ProgressWire(
            pages=value.pages_done, pages_total=value.pages, chunks=value.chunks_done, chunks_total=value.chunks_total
        )
    )
    return ItemWire(
        id=value.id,
        knowledgebase_id=value.knowledgebase_id,
        name=value.name,
        status=value.status.value,
        metadata=dict(value.shown_metadata),
        size=value.size,
        mime_type=value.mime_type,
        sha256=value.sha256.hex(),
        searchable=value.served_sha256 is not None,
        progress=progress,
        warnings=value.warnings,
        error=ItemErrorWire(code=value.error["code"], message=value.error["message"]) if value.error else None,
        source_id=value.source_id,
        uploaded_at=value.uploaded_at,
        processed_at=value.processed_at,
    )


def found(value: Found, *, explain: bool) -> SearchWire:
    hits = [
        HitWire(
            id=hit.chunk_id,
            content=hit.text,
            metadata=shown(hit),
            score=hit.score,
            snippet=hit.snippet,
            explain=_plain(hit.explain),
        )
        for hit in value.hits
    ]
    return SearchWire(data=hits, explain=_plain(value.explain) if explain else None)


def graph(value: Found) -> GraphWire:
    documents = found(value, explain=False).data
    return GraphWire(content="\n\n".join(one.content for one in documents), documents=documents)


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(value) if value else None


def _chunking(value: Chunking) -> ChunkingWire:
    return ChunkingWire(characters_max=value.characters_max, tokens_max=value.tokens_max)


def _embedder(value: EmbedderSpec) -> EmbedderWire:
    return EmbedderWire(
        provider=value.provider, model=value.model, dimensions=value.dimensions, connection_id=value.connection_id
    )


def _retriever(value: Retriever) -> RetrieverWire:
    chosen = value.reranker
    reranker = (
        RerankerWire(provider=chosen["provider"], connection_id=chosen["connection_id"], model=chosen["model"])
        if chosen
        else None
    )
    return RetrieverWire(mode=value.mode, alpha=value.alpha, top_k=value.top_k, reranker=reranker)
