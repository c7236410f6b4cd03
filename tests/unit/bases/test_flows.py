"""What is read of an ingestion flow: how its splitter cuts, and which connection embeds."""

from typing import Any
from uuid import UUID

import pytest

from stoa.bases import flows

CONNECTION = "01890a5d-ac96-774b-bcce-b302099a8057"
SPLITTER = "dynamiq.nodes.splitters.DocumentSplitter"
LIBRARY_SPLITTER = "dynamiq.nodes.splitters.document.DocumentSplitter"
EMBEDDER = "dynamiq.nodes.embedders.OpenAIDocumentEmbedder"


def flow(*nodes: Any) -> dict[str, Any]:
    return {"id": "f", "nodes": list(nodes)}


@pytest.mark.parametrize(
    ("node", "characters"),
    [
        ({"type": SPLITTER, "split_by": "character", "split_length": 600}, 600),
        ({"type": LIBRARY_SPLITTER, "split_by": "word", "split_length": 100}, 600),
        ({"type": SPLITTER, "split_by": "sentence", "split_length": 10}, 1_200),
        ({"type": SPLITTER}, 5_000),
        ({"type": SPLITTER, "split_by": "character", "split_length": 1}, 200),
        ({"type": SPLITTER, "split_by": "character", "split_length": 10**9}, 8_000),
        ({"type": SPLITTER, "split_by": "page", "split_length": 1}, None),
        ({"type": SPLITTER, "split_by": "word", "split_length": "many"}, None),
        ({"type": SPLITTER, "split_by": "word", "split_length": 0}, None),
        ({"type": "dynamiq.nodes.splitters.RecursiveCharacterSplitter", "split_length": 300}, None),
    ],
)
def test_the_splitter_bounds_a_chunk(node: dict[str, Any], characters: int | None) -> None:
    assert flows.chunking(flow({"type": "x"}, node)) == ({} if characters is None else {"characters_max": characters})


def test_the_embedder_is_that_of_a_connection_of_this_server() -> None:
    found = flows.embedder(flow({"type": EMBEDDER, "connection": CONNECTION, "model": "m", "dimensions": 256}))
    assert found is not None
    assert (found.provider, found.model, found.dimensions, found.connection_id) == (
        "connection", "m", 256, UUID(CONNECTION)
    )  # fmt: skip
    inline = flows.embedder(flow({"type": EMBEDDER, "connection": {"id": CONNECTION}}))
    assert inline is not None
    assert (inline.model, inline.dimensions) == ("text-embedding-3-small", 0)
    nested = flows.embedder(flow({"type": "x", "embedder": {"type": EMBEDDER, "connection": CONNECTION}}))
    assert nested is not None


@pytest.mark.parametrize(
    "given",
    [
        {}, {"nodes": None}, {"nodes": "x"}, {"nodes": [1, None, [], "x"]}, flow({"type": 1}),
        flow({"type": EMBEDDER}), flow({"type": EMBEDDER, "connection": "openai-conn"}),
        flow({"type": EMBEDDER, "connection": {"type": "dynamiq.connections.OpenAI"}}),
    ],
)  # fmt: skip
def test_a_flow_without_settings_leaves_the_defaults(given: dict[str, Any]) -> None:
    assert (flows.chunking(given), flows.embedder(given)) == ({}, None)
