"""What is wrong with the embedders of a graph: they give no vectors, so nothing may want one. Pure."""

from collections.abc import Mapping
from typing import Final

from stoa.kernel.json_paths import PathError
from stoa.runs.workflow.graph import Graph, GraphNode
from stoa.runs.workflow.paths import nodes_of

_READERS: Final = ("retrievers", "writers")


def pipeline_problems(graph: Graph) -> Mapping[str, str]:
    """By the node that would read a vector."""
    problems: dict[str, str] = {}
    embedders = {one.node.id for one in graph.nodes if one.type.group == "embedders"}
    if not embedders:
        return problems
    for one in graph.nodes:
        if one.type.group in _READERS:
            continue
        read = {edge.node for edge in one.depends} | _named(one)
        for embedder in sorted(read & embedders):
            problems[f"flow.nodes.{one.key}"] = (
                f"(node {one.node.title!r}) reads the embedder {embedder!r}, which gives no vectors here: a knowledge"
                " base embeds texts itself, so only a retriever or a writer of it may stand behind an embedder"
            )
    return problems


def _named(one: GraphNode) -> set[str]:
    transformer = one.node.input_transformer
    found: set[str] = set()
    for value in ((transformer.selector if transformer else None) or {}).values():
        try:
            found |= set(nodes_of(value)) if isinstance(value, str) else set()
        except PathError:
            continue  # It was named where it was compiled.
    return found
