"""Problems with the embedders of a graph: they return no vectors, so no node may read one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from stoa.kernel.json_paths import PathError
from stoa.runs.workflow.graph import Graph, GraphNode
from stoa.runs.workflow.paths import field

_READERS: Final = ("retrievers", "writers")
_TEXT: Final = ("output", "query")
"""The only part of a text embedder's result that other nodes may read: the text."""


def pipeline_problems(graph: Graph) -> Mapping[str, str]:
    """By the node that would read a vector."""
    problems: dict[str, str] = {}
    embedders = {one.node.id for one in graph.nodes if one.type.group == "embedders"}
    for one in graph.nodes if embedders else ():
        if one.type.group in _READERS:
            continue
        if embedder := next((name for name in _wanted(one) if name in embedders), None):
            problems[f"flow.nodes.{one.key}"] = (
                f"(node {one.node.title!r}) reads the embedder {embedder!r}, which gives no vectors here: a knowledge"
                " base embeds texts itself, so only a retriever or a writer of it may read an embedder"
            )
    return problems


def _wanted(one: GraphNode) -> Sequence[str]:
    """The nodes from whose results more than the text is read. Without a transformer, these are all that the node
    depends on."""
    transformer = one.node.input_transformer
    if transformer is None or not transformer.selector or transformer.path:
        return sorted(edge.node for edge in one.depends)
    found: list[str] = []
    for value in transformer.selector.values():
        try:
            paths = field(value).paths
        except PathError:
            continue  # Reported where it was compiled.
        found += [path.names[0] for path in paths if path.names and tuple(path.names[1:3]) != _TEXT]
    return found
