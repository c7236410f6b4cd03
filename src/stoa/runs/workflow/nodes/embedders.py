"""Embedders of a flow: they only mark what is to be embedded. The knowledge base that receives it embeds it, with the
embedder of its chunks, so question and documents are in the same vector space. No vector leaves the base: `pipelines`
refuses a flow in which any other node reads one.
"""

from typing import Any, Final

from stoa.runs.workflow import templates
from stoa.runs.workflow.nodes.documents import documents_of
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType

_PROVIDERS: Final = ("OpenAI", "Cohere", "Mistral", "Bedrock", "Gemini", "HuggingFace", "VertexAI", "WatsonX")


def _text(_: Node, inputs: Inputs) -> Any:
    query = templates.as_text(inputs.own.get("query", inputs.own.get("input"))).strip()
    if not query:
        raise NodeFailed("input_invalid", "its field query is empty: there is nothing to embed")
    return {"query": query, "embedding": {"text": query}}


def _documents(_: Node, inputs: Inputs) -> Any:
    return {"documents": list(documents_of(inputs))}


TYPES: Final = (
    *(
        NodeType(
            name=f"dynamiq.nodes.embedders.{provider}TextEmbedder",
            group="embedders",
            description="Marks `query` to be embedded by the knowledge base that a retriever behind it searches.",
            schema=Node,
            decide=_text,
        )
        for provider in _PROVIDERS
    ),
    *(
        NodeType(
            name=f"dynamiq.nodes.embedders.{provider}DocumentEmbedder",
            group="embedders",
            description="Marks `documents` to be embedded by the knowledge base that a writer behind it fills.",
            schema=Node,
            decide=_documents,
        )
        for provider in _PROVIDERS
    ),
)
