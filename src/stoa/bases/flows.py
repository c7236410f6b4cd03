"""Reads splitting and embedding settings from the ingestion flow of a knowledge base. Pure.

The platform's clients describe ingestion as a graph: convert, split, embed, write. Conversion and writer
are always this server's own; supported settings of its splitter and embedder are used (contract section 7).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from stoa.bases.types import EmbedderSpec

_SPLITTER: Final = "DocumentSplitter"
_SPLITTERS: Final = "dynamiq.nodes.splitters."
_EMBEDDERS: Final = "dynamiq.nodes.embedders."
CHARACTERS: Final = (200, 8_000)
"""The minimum and maximum of a chunk's limit."""
_CHARACTERS_PER: Final[Mapping[str, int]] = {"character": 1, "word": 6, "sentence": 120, "passage": 500}
"""Characters per unit of English text. A page and a title have no length: texts are split along their structure."""
_DEFAULT_MODEL: Final = "text-embedding-3-small"


def chunking(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    """`split_length` as characters; empty where the flow says nothing of it that has a length."""
    for node in _nodes(flow, _SPLITTERS):
        per = _CHARACTERS_PER.get(str(node.get("split_by", "passage")).lower())
        length = node.get("split_length", 10)
        if per and type(length) is int and length > 0 and str(node["type"]).endswith(_SPLITTER):
            least, most = CHARACTERS
            return {"characters_max": min(most, max(least, per * length))}
    return {}


def embedder(flow: Mapping[str, Any]) -> EmbedderSpec | None:
    """The embedder of a connection that the flow names by its id. A flow whose embedder names none (the client's own
    environment has the key) leaves the choice to the server."""
    for node in _nodes(flow, _EMBEDDERS):
        connection = node.get("connection")
        if isinstance(connection, Mapping):
            connection = connection.get("id")
        if not isinstance(connection, str):
            continue
        try:
            connection_id = UUID(connection)
        except ValueError:
            continue
        dimensions = node.get("dimensions")
        model = node.get("model")
        return EmbedderSpec(
            "connection",
            model if isinstance(model, str) and model else _DEFAULT_MODEL,
            dimensions if isinstance(dimensions, int) and dimensions > 0 else 0,
            connection_id,
        )
    return None


def _nodes(flow: Mapping[str, Any], family: str) -> Iterator[Mapping[str, Any]]:
    """The flow's nodes of a family, with those nested in them (a document embedder's `embedder`)."""
    nodes: Any = flow.get("nodes")
    for node in nodes if isinstance(nodes, list) else ():
        for one in (node, *(node.values() if isinstance(node, Mapping) else ())):
            if isinstance(one, Mapping) and str(one.get("type", "")).startswith(family):
                yield one
