"""Warnings about a valid graph: what it does is probably not what its author meant. Pure."""

from collections.abc import Mapping, Sequence

from stoa.runs.workflow.graph import Graph, GraphNode
from stoa.runs.workflow.nodes.choice import ChoiceNode


def advice(graph: Graph) -> Sequence[tuple[str, str]]:
    """(node, sentence) pairs."""
    found: list[tuple[str, str]] = []
    wanted: dict[str, Mapping[str, frozenset[str]]] = {}
    leading = _leading_to_an_output(graph)
    for one in graph.nodes:
        wanted[one.node.id] = options = _options_wanted(one, graph, wanted)
        for choice, taken in options.items():
            if len(taken) > 1 and not _takes_several(graph.node(choice)):
                found.append((one.node.id, _never(choice, taken)))
                break
        found += [(one.node.id, sentence) for sentence in one.node.advice()]
        if one.node.id not in leading:
            found.append((one.node.id, "No Output depends on it: it runs, and nothing of it reaches the caller."))
    return found


def _never(choice: str, options: frozenset[str]) -> str:
    named = ", ".join(sorted(options))
    return (
        f"It waits for several options of {choice} ({named}), of which only the first that holds is taken, so it is"
        " always skipped. Join branches at an Output, or give the nodes before it error_handling.behavior: return."
    )


def _options_wanted(
    one: GraphNode, graph: Graph, wanted: Mapping[str, Mapping[str, frozenset[str]]]
) -> Mapping[str, frozenset[str]]:
    """The options that must all be taken for the node to run, by their Choice."""
    if one.joins:
        return {}
    options: dict[str, frozenset[str]] = {}
    for edge in one.depends:
        if edge.trigger == "success" and not graph.node(edge.node).returns:
            for choice, named in wanted[edge.node].items():
                options[choice] = options.get(choice, frozenset()) | named
        if edge.option is not None:
            options[edge.node] = options.get(edge.node, frozenset()) | {edge.option}
    return options


def _takes_several(one: GraphNode) -> bool:
    return not isinstance(one.node, ChoiceNode) or one.node.hit_policy == "all"


def _leading_to_an_output(graph: Graph) -> frozenset[str]:
    outputs = [one for one in graph.nodes if one.joins]
    return frozenset({one.node.id for one in outputs}.union(*(one.ancestors for one in outputs)))
