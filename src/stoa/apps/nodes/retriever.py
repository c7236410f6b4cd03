"""A knowledge base as a node: searches for its input field `query`."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from stoa.apps.nodes.node import Node, NodeType


class RetrieverNode(Node):
    knowledgebase_id: UUID
    limit: Annotated[int, Field(ge=1, le=100)] | None = None


RETRIEVERS: Final = tuple(
    NodeType(
        f"dynamiq.nodes.{path}", "retrievers", path.rsplit(".", 1)[-1], "Searches a knowledge base.", RetrieverNode
    )
    for path in (
        "knowledgebases.DynamiqKnowledgebaseVectorSearch",
        "knowledgebases.DynamiqKnowledgebaseHybridSearch",
    )
)
