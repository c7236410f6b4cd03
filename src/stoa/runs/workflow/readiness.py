"""Decides which nodes may run and which are skipped, by the rules of the platform's library. Pure.

An edge has a trigger (success or failure), and may have an option (of a Choice) and a condition (on the result). A node
runs when all its edges allow it. If one does not, the node is skipped, and so is what depends on it. A failure with
`behavior: return` counts as a result. An Output joins branches: it waits for all of them, and is skipped only if no
branch was taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoa.runs.workflow.conditions import holds
from stoa.runs.workflow.graph import Graph, GraphNode
from stoa.runs.workflow.nodes.node import Depends
from stoa.runs.workflow.state import NodeState

STATUS_NAMES: Mapping[str, str] = {"completed": "success", "failed": "failure", "skipped": "skip"}
"""Our statuses → the platform's, which paths and conditions read."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reason` says why the node is skipped; `ready` never has a reason."""

    ready: bool = False
    reason: str | None = None


WAITING = Readiness()
READY = Readiness(ready=True)


def readiness_of(node: GraphNode, graph: Graph, states: Mapping[str, NodeState]) -> Readiness:
    """Raises ConditionError for an edge's condition that cannot be evaluated."""
    results = {one.node: states.get(one.node) for one in node.depends}
    if any(state is None or not state.ended for state in results.values()):
        return WAITING
    ended = {name: state for name, state in results.items() if state is not None}
    tolerant = node.joins and any(_taken(one, ended[one.node], graph) for one in node.depends)
    for one in node.depends:
        state = ended[one.node]
        if tolerant and _not_taken(one, state, node, graph):
            continue
        if reason := _refused(one, state, graph):
            return Readiness(reason=reason)
    return READY


def result_of(state: NodeState) -> dict[str, Any]:
    """A node's result as paths read it, below the node's id."""
    error = None if state.error is None else {"type": state.error["code"], "message": state.error["message"]}
    return {"status": STATUS_NAMES[state.status], "output": state.output, "error": error}


def joined_outputs(node: GraphNode, states: Mapping[str, NodeState]) -> dict[str, Any]:
    """The result of an Output without a transformer: the output of the node before it, or an object of those that
    ran."""
    ran = {edge.node: states[edge.node].output for edge in node.depends if states[edge.node].status == "completed"}
    if len(ran) != 1:
        return ran
    only = next(iter(ran.values()))
    return only if isinstance(only, dict) else {"output": only}


def _taken(edge: Depends, state: NodeState, graph: Graph) -> bool:
    if edge.node not in graph.branching:
        return False
    return state.status == ("failed" if edge.trigger == "failure" else "completed") and _passes(edge, state)


def _not_taken(edge: Depends, state: NodeState, node: GraphNode, graph: Graph) -> bool:
    """Whether the edge is of a branch that was not taken, which an Output ignores."""
    if edge.node not in graph.branching:
        return False
    if edge.trigger == "failure":
        return state.status != "failed"
    handled = edge.node in graph.handled and edge.node in node.ancestors
    return state.status == "skipped" or (state.status == "failed" and handled)


def _refused(edge: Depends, state: NodeState, graph: Graph) -> str | None:
    name = edge.node
    if edge.trigger == "failure":
        return None if state.status == "failed" else f"{name} did not fail"
    if state.status in ("failed", "skipped") and not graph.node(name).returns:
        return f"{name} failed" if state.status == "failed" else f"{name} was skipped"
    if edge.condition is not None and not holds(edge.condition, result_of(state)):
        return f"the condition on the result of {name} does not hold"
    if edge.option is not None and not _option_taken(edge, state):
        return f"{name} did not take the option {edge.option}"
    return None


def _passes(edge: Depends, state: NodeState) -> bool:
    return edge.option is None or _option_taken(edge, state)


def _option_taken(edge: Depends, state: NodeState) -> bool:
    chosen = state.output.get(edge.option) if isinstance(state.output, Mapping) else None
    return not isinstance(chosen, Mapping) or chosen.get("status") == "success"
