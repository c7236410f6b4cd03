"""A search in a knowledge base, with the input field `query`."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from stoa.runs.agent.knowledge import Quote
from stoa.runs.agent.steps import Step
from stoa.runs.workflow import templates
from stoa.runs.workflow.nodes.node import Inputs, Needs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.task import Task


class RetrieverNode(Node):
    knowledgebase_id: UUID
    limit: Annotated[int, Field(ge=1, le=100)] | None = None

    def needs(self) -> Needs:
        return Needs(bases=[self.knowledgebase_id])


async def _work(node: RetrieverNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    found = await task.ports.search([node.knowledgebase_id], query_of(inputs), node.limit)
    yield Produced(given(found))


def query_of(inputs: Inputs) -> str:
    """Raises NodeFailed."""
    query = templates.as_text(inputs.own.get("query", inputs.own.get("input"))).strip()
    if not query:
        raise NodeFailed("input_invalid", "its field query is empty: there is nothing to search for")
    return query


def given(found: Sequence[Quote]) -> dict[str, Any]:
    return {"content": "\n\n".join(one.text for one in found), "documents": [_document(one) for one in found]}


def _document(quote: Quote) -> dict[str, Any]:
    place = {"page": quote.page, "heading": quote.heading, **(quote.place or {})}
    known = {name: value for name, value in place.items() if value is not None}
    ids = {"item_id": str(quote.item_id), "knowledgebase_id": str(quote.knowledgebase_id)}
    return {"id": str(quote.chunk_id), "content": quote.text, "metadata": {"source": quote.source, **known, **ids}}


TYPES: Final = tuple(
    NodeType(
        name=f"dynamiq.nodes.{path}",
        group="retrievers",
        description="Searches a knowledge base for its field `query`; gives `documents`, and their text as `content`.",
        schema=RetrieverNode,
        work=_work,
    )
    for path in (
        "knowledgebases.DynamiqKnowledgebaseVectorSearch",
        "knowledgebases.DynamiqKnowledgebaseHybridSearch",
        "knowledgebases.DynamiqKnowledgebaseGraphSearch",
    )
)
