"""The JSON shapes that callers send: of knowledge bases, items and searches (contract section 7)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.bases import flows, rules
from stoa.bases.searching import Asked
from stoa.bases.service import Settings
from stoa.bases.types import EmbedderSpec, Ocr
from stoa.http import Body
from stoa.http.wire import not_blank
from stoa.index import LANGUAGES

CHARACTERS_PER_TOKEN: Final = 5
"""Of English text, at most: where a chunk is bounded by tokens."""
Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
Description = Annotated[str, Field(max_length=4_000), AfterValidator(not_blank)]


def _language(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"is none of {', '.join(sorted(LANGUAGES))}")
    return value


Language = Annotated[str, AfterValidator(_language)]


class EmbedderIn(Body):
    """`local` is a model on the server's machine, `server` the operator's endpoint, `connection` an endpoint of
    /v1/connections."""

    provider: Literal["local", "server", "connection"]
    model: Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
    dimensions: Annotated[int, Field(ge=1, le=4_000)] | None = None
    connection_id: UUID | None = None


class ChunkingIn(Body):
    """Texts are cut along their structure. `tokens_max` bounds a chunk by tokens of the embedder, `characters_max` by
    characters; no chunk is longer than the embedder reads (all-MiniLM-L6-v2 256 tokens)."""

    characters_max: Annotated[int, Field(ge=200, le=8_000)] | None = None
    tokens_max: Annotated[int, Field(ge=32, le=8_192)] | None = None


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

    `flow` and what follows it are what the platform's clients send of an ingestion workflow. All of it is given back;
    of the flow is read how its splitter cuts, and which connection embeds, unless `chunking` and `embedder` say so.
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
    """What is left out stays; null removes a description, `runtime_id` and `workflow_version_id`. `embedder`,
    `chunking` and `language` change only while the base is empty, else through /reindex."""

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
    group_by: Annotated[
        Literal["document"] | None,
        Field(description="`document`: the best chunk of each item; `limit` counts items."),
    ] = None
    explain: bool = False


class SearchIn(ToolSearchIn):
    """With `user`, `groups` or both, only items that admit one of them are found. A field that is not known is
    refused."""

    example: ClassVar[Mapping[str, Any]] = {"query": "How long is the notice period?", "limit": 5}

    user: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    groups: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=1_000)] | None = None


class GraphSearchIn(Body):
    """What the platform's clients send to search a graph. A field that is not known is refused."""

    example: ClassVar[Mapping[str, Any]] = {"query": "Who approves travel?", "limit": 5}

    query: QueryText
    limit: Limit = 10
    filters: Filters | None = None
    user: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None

    def search(self) -> SearchIn:
        return SearchIn(query=self.query, limit=self.limit, filters=self.filters, user=self.user)


# --- shapes to values ------------------------------------------------------------------------------------------
_OF_INGESTION: Final = ("flow", "flow_ui", "runtime_id", "workflow_id", "workflow_version_id")


def settings(body: CreateBase | UpdateBase | Reindex) -> Settings:
    embedder = body.embedder
    named = None if isinstance(body, Reindex) else body
    flow = (body.flow or {}) if isinstance(body, CreateBase) else {}
    return Settings(
        named.name if named else None,
        named.description if named else None,
        EmbedderSpec(embedder.provider, embedder.model, embedder.dimensions or 0, embedder.connection_id)
        if embedder
        else flows.embedder(flow),
        _chunking_changes(body.chunking) if body.chunking else flows.chunking(flow),
        _retriever_changes(named.retriever) if named and named.retriever else {},
        body.language,
        named.ocr if named else None,
        no_description=named is not None and "description" in named.model_fields_set and named.description is None,
        ingestion=_ingestion(named) if named else {},
    )


def _ingestion(given: CreateBase | UpdateBase) -> dict[str, Any]:
    sent = {name: getattr(given, name) for name in _OF_INGESTION if name in given.model_fields_set}
    return {name: str(value) if isinstance(value, UUID) else value for name, value in sent.items()}


def _chunking_changes(given: ChunkingIn) -> dict[str, Any]:
    """What is set of it. Tokens alone leave as many characters as they may have; null removes the bound by tokens."""
    changes: dict[str, Any] = given.model_dump(exclude_none=True)
    if given.tokens_max is not None and given.characters_max is None:
        changes["characters_max"] = min(8_000, max(200, given.tokens_max * CHARACTERS_PER_TOKEN))
    if "tokens_max" in given.model_fields_set:
        changes["tokens_max"] = given.tokens_max
    return changes


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
        one_per_item=body.group_by is not None,
    )
