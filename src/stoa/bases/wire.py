"""The JSON shapes of knowledge bases, items and searches (contract section 7)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.bases import rules
from stoa.bases.searching import Asked, shown
from stoa.bases.service import Settings
from stoa.bases.types import EmbedderSpec, Item, KnowledgeBase, Ocr, Retriever
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank
from stoa.index import LANGUAGES, Found

Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
Description = Annotated[str, Field(max_length=4_000), AfterValidator(not_blank)]


def _language(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"is none of {', '.join(sorted(LANGUAGES))}")
    return value


Language = Annotated[str, AfterValidator(_language)]


# --- in -------------------------------------------------------------------------------------------------------------
class EmbedderIn(Body):
    """`local` is the model that comes along, `server` the operator's endpoint, `connection` an endpoint of
    /v1/connections."""

    provider: Literal["local", "server", "connection"]
    model: Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
    dimensions: Annotated[int, Field(ge=1, le=4_000)] | None = None
    connection_id: UUID | None = None


class ChunkingIn(Body):
    """Texts are cut along their structure; `characters_max` bounds a chunk. The local embedder reads about 1,000
    characters."""

    characters_max: Annotated[int, Field(ge=200, le=8_000)] | None = None


class RerankerIn(Body):
    """`server` is the operator's reranker, `connection` a `/rerank` endpoint (Jina, Cohere, vLLM …) of
    /v1/connections."""

    provider: Literal["server", "connection"]
    connection_id: UUID | None = None
    model: Annotated[str, Field(max_length=200), AfterValidator(not_blank)] | None = None


class RetrieverIn(Body):
    """`alpha` weighs hybrid searches from 0 (words) to 1 (meaning); `top_k` is the number of passages that an agent is
    given."""

    mode: Literal["semantic", "keyword", "hybrid"] | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1, le=rules.LIMIT_MAX)] | None = None
    reranker: RerankerIn | None = None


OcrIn = Annotated[
    Ocr,
    Field(
        description="`auto`: pages without text, and pictures, go to the model that the operator has named, if any. "
        "`off`: to none."
    ),
]


class CreateBase(Body):
    """Everything but the name has a default that works: the local embedder, hybrid search, English stemming.

    `flow` and the ids after it are what the platform's clients send of an ingestion workflow; they have no effect.
    """

    example: ClassVar[Mapping[str, Any]] = {"name": "Handbook", "language": "english"}

    name: Name
    project_id: UUID | None = None
    description: Description | None = None
    embedder: EmbedderIn | None = None
    chunking: ChunkingIn | None = None
    retriever: RetrieverIn | None = None
    language: Language | None = None
    ocr: OcrIn | None = None
    flow: dict[str, Any] | None = None
    flow_ui: dict[str, Any] | None = None
    runtime_id: UUID | None = None
    workflow_id: UUID | None = None
    workflow_version_id: UUID | None = None


class UpdateBase(Body):
    """What is left out stays; null removes a description. `embedder`, `chunking` and `language` change only while the
    base is empty, else through /reindex."""

    example: ClassVar[Mapping[str, Any]] = {"name": "Handbook of 2026"}

    name: Name | None = None
    description: Description | None = None
    embedder: EmbedderIn | None = None
    chunking: ChunkingIn | None = None
    retriever: RetrieverIn | None = None
    language: Language | None = None
    ocr: OcrIn | None = None
    runtime_id: UUID | None = None
    workflow_version_id: UUID | None = None


class Reindex(Body):
    """The settings of the new index; what is left out is as it was."""

    example: ClassVar[Mapping[str, Any]] = {"language": "german"}

    embedder: EmbedderIn | None = None
    chunking: ChunkingIn | None = None
    language: Language | None = None


class UpdateItem(Body):
    example: ClassVar[Mapping[str, Any]] = {"metadata": {"team": "sales"}}

    metadata: dict[str, Any]


Mode = Literal["semantic", "keyword", "hybrid"]
Limit = Annotated[int, Field(ge=1, le=rules.LIMIT_MAX)]
Unit = Annotated[float, Field(ge=0, le=1)]
QueryText = Annotated[str, Field(max_length=rules.QUERY_CHARACTERS_MAX), AfterValidator(not_blank)]
Filters = Annotated[
    dict[str, Any],
    Field(description="`{field, operator, value}`, `{operator: AND|OR|NOT, conditions: […]}`, or `{key: value}`."),
]


class ToolSearchIn(Body):
    """What a model may ask for when the search is its tool. Whom it searches for is not the model's to say.

    A field that is not known is refused: it may be a misspelt restriction, and without it more would be found.
    """

    query: QueryText
    limit: Limit = 10
    filters: Filters | None = None
    alpha: Unit | None = None
    mode: Mode | None = None
    similarity_threshold: Unit | None = None
    rerank: bool | None = None
    explain: bool = False


class SearchIn(ToolSearchIn):
    """With `user`, `groups` or both, only items that admit one of them are found. A field that is not known is
    refused."""

    example: ClassVar[Mapping[str, Any]] = {"query": "How long is the notice period?", "limit": 5}

    user: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    groups: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=1_000)] | None = None


# --- out ------------------------------------------------------------------------------------------------------------
class EmbedderWire(Wire):
    provider: str
    model: str
    dimensions: int
    connection_id: UUID | None


class ChunkingWire(Wire):
    characters_max: int


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


class SearchWire(Wire):
    data: Sequence[HitWire]
    explain: dict[str, Any] | None


# --- shapes to values -----------------------------------------------------------------------------------------------
def settings(body: CreateBase | UpdateBase | Reindex) -> Settings:
    embedder = body.embedder
    named = None if isinstance(body, Reindex) else body
    return Settings(
        named.name if named else None,
        named.description if named else None,
        EmbedderSpec(embedder.provider, embedder.model, embedder.dimensions or 0, embedder.connection_id)
        if embedder
        else None,
        body.chunking.model_dump(exclude_none=True) if body.chunking else {},
        _retriever_changes(named.retriever) if named and named.retriever else {},
        body.language,
        named.ocr if named else None,
        no_description=named is not None and "description" in named.model_fields_set and named.description is None,
    )


def _retriever_changes(given: RetrieverIn) -> dict[str, Any]:
    """What is set of it; null removes a reranker."""
    changes = given.model_dump(exclude_none=True, exclude={"reranker"})
    if "reranker" in given.model_fields_set:
        changes["reranker"] = given.reranker.model_dump(mode="json") if given.reranker else None
    return changes


def asked(body: ToolSearchIn) -> Asked:
    named = body if isinstance(body, SearchIn) else None
    return Asked(
        body.query,
        body.limit,
        body.mode,
        body.alpha,
        body.filters,
        user=named.user if named else None,
        groups=named.groups if named else None,
        similarity_threshold=body.similarity_threshold,
        explain=body.explain,
        rerank=body.rerank,
    )


# --- values to shapes -----------------------------------------------------------------------------------------------
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
        chunking=ChunkingWire(characters_max=value.chunking.characters_max),
        retriever=_retriever(value.retriever),
        language=value.language,
        ocr=value.ocr,
        item_count=value.item_count,
        chunk_count=value.chunk_count,
        reindex=ReindexWire(
            embedder=_embedder(building.embedder),
            chunking=ChunkingWire(characters_max=building.chunking.characters_max),
            language=building.language,
            items=value.served_count,
            items_done=value.built_count,
            items_failed=value.missed_count,
        )
        if building
        else None,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


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


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(value) if value else None


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
