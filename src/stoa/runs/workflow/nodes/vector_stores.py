"""The vector stores of the platform's library: here each is a knowledge base, which `knowledgebase_id` names."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Annotated, Any, Final, cast
from uuid import UUID

from pydantic import Field

from stoa.runs.agent.calls import KEY_REVOKED
from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes import retriever
from stoa.runs.workflow.nodes.documents import documents_of, metadata_of
from stoa.runs.workflow.nodes.node import Inputs, Needs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.ports import NewDocument
from stoa.runs.workflow.task import Task

DOCUMENTS_MAX: Final = 1_000
"""The limit of documents that one node stores: each becomes an item of its knowledge base."""
_STORES: Final = (
    "Chroma",
    "Elasticsearch",
    "Milvus",
    "OpenSearch",
    "PGVector",
    "Pinecone",
    "Qdrant",
    "Turbopuffer",
    "Weaviate",
)

_NO_BASE: Final = (
    "must name the knowledge base that is this store here (POST /v1/knowledgebases); stoa apps deploy makes it from a"
    " file"
)


class StoreNode(Node):
    knowledgebase_id: UUID | None = None

    def needs(self) -> Needs:
        return Needs(bases=[self.knowledgebase_id] if self.knowledgebase_id else ())

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.knowledgebase_id is None:
            yield "knowledgebase_id", _NO_BASE


class DocumentRetrieverNode(StoreNode):
    top_k: Annotated[int, Field(ge=1, le=100)] | None = None
    filters: Mapping[str, Any] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.filters:
            yield "filters", "are not followed here: search a base that holds what is meant, and nothing else"


async def _search(node: DocumentRetrieverNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    query = _asked(inputs)
    assert node.knowledgebase_id is not None, "`problems` has said so"
    yield Produced(retriever.given(await task.ports.search([node.knowledgebase_id], query, node.top_k)))


def _asked(inputs: Inputs) -> str:
    """The text that an embedder marked, or the field `query`. Raises NodeFailed."""
    marked = inputs.own.get("embedding")
    if isinstance(marked, Mapping):
        query = cast("Mapping[str, Any]", marked).get("text")
        if isinstance(query, str):
            return query
    if isinstance(marked, list):
        raise NodeFailed("input_invalid", "its field embedding holds a vector; a knowledge base is asked by query")
    return retriever.query_of(inputs)


class WriterNode(StoreNode):
    """Each document becomes an item, which the base reads, embeds and shows in searches a moment later."""


async def _store(node: WriterNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    """Stored once even if this process dies: a repetition has the same idempotency key."""
    assert node.knowledgebase_id is not None, "`problems` has said so"
    documents = documents_of(inputs)
    if len(documents) > DOCUMENTS_MAX:
        raise NodeFailed("input_invalid", f"it is given {len(documents)} documents; at most {DOCUMENTS_MAX} are stored")
    new = [
        NewDocument(f"{_source(one)}-{number}.md", one["content"], metadata_of(one))
        for number, one in enumerate(documents, 1)
        if one["content"].strip()
    ]
    if task.ports.admitted is not None and not await task.ports.admitted():
        raise NodeFailed(KEY_REVOKED, "the key that began this run was revoked or has expired: nothing is stored")
    stored = await task.ports.store(node.knowledgebase_id, new, task.path) if new else ()
    yield Produced({"upserted_count": len(stored), "item_ids": [str(item_id) for item_id in stored]})


def _source(document: Mapping[str, Any]) -> str:
    name = metadata_of(document).get("file_name")
    return name[:200] if isinstance(name, str) and name.strip() else "document"


TYPES: Final = (
    *(
        NodeType(
            name=f"dynamiq.nodes.retrievers.{name}",
            group="retrievers",
            description="Searches the knowledge base `knowledgebase_id` for what a text embedder marked, or `query`.",
            schema=DocumentRetrieverNode,
            work=_search,
        )
        for name in (*(f"{store}DocumentRetriever" for store in _STORES), "VectorStoreRetriever")
    ),
    *(
        NodeType(
            name=f"dynamiq.nodes.writers.{name}",
            group="writers",
            description="Adds `documents` to the knowledge base `knowledgebase_id`, each as an item.",
            schema=WriterNode,
            work=_store,
        )
        for name in (*(f"{store}DocumentWriter" for store in _STORES), "VectorStoreWriter")
    ),
)
