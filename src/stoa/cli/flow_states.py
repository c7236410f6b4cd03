"""A GraphOrchestrator of the platform's files whose states follow one another without a choice: agents joined by edges.
One whose manager chooses between states stays as it is, and the server refuses it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

AGENT: Final = "dynamiq.nodes.agents.Agent"
_END: Final = "END"
_START: Final = "START"
_STATES_MAX: Final = 50
_QUESTION: Final = "$.input.output.input || $.input"
"""The field `input` of the run, whether or not the Input node has that id."""


def is_orchestrator(kind: str) -> bool:
    return kind.startswith("dynamiq.nodes.agents.orchestrators.") and kind.endswith("GraphOrchestrator")


def as_agents(node: Mapping[str, Any]) -> Sequence[dict[str, Any]] | None:
    """The agents of the states, in order; each reads the question and what the states before it answered. The last has
    the orchestrator's id, so that what depends on it still does. None if the states form no row of agents."""
    row = _row(node)
    if not row:
        return None
    made: list[dict[str, Any]] = []
    before: list[str] = []
    for number, tasks in enumerate(row):
        ids: list[str] = []
        for at, task in enumerate(tasks):
            last = number == len(row) - 1 and at == len(tasks) - 1
            node_id = str(node["id"]) if last else f"{node['id']}-{number + 1}-{at + 1}"
            made.append(_agent(task, node_id, node, before))
            ids.append(node_id)
        before += ids
    return made


def _row(node: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]] | None:
    """The tasks of each state from the first to the last."""
    given = node.get("states")
    states: dict[str, Mapping[str, Any]] = {
        str(one.get("id")): one for one in cast("list[Any]", given or []) if isinstance(one, Mapping)
    }
    row: list[Sequence[Mapping[str, Any]]] = []
    at = str(node.get("initial_state") or _START)
    while at != _END:
        state = states.pop(at, None)
        if state is None or len(row) >= _STATES_MAX:
            return None  # A state that comes twice, or is none.
        following, tasks = state.get("next_states"), state.get("tasks") or ()
        if not isinstance(following, list) or len(cast("list[Any]", following)) != 1:
            return None
        if not all(isinstance(one, Mapping) and one.get("type") == AGENT for one in tasks):
            return None
        if tasks:
            row.append(tasks)
        elif at != _START:
            return None
        at = str(cast("list[Any]", following)[0])
    return row


def _agent(task: Mapping[str, Any], node_id: str, whole: Mapping[str, Any], before: Sequence[str]) -> dict[str, Any]:
    made = {name: value for name, value in task.items() if name not in ("id", "depends", "input_transformer")}
    made |= {"id": node_id, "name": task.get("name") or task.get("id") or node_id}
    depends = [*(whole.get("depends") or ()), *({"node": one} for one in before)]
    selector = (whole.get("input_transformer") or {}).get("selector")
    if before:
        earlier = {f"answer_{number}": f"$.{one}.output.content" for number, one in enumerate(before, 1)}
        selector = {**(selector or {"input": _QUESTION}), **earlier}
    made |= {"depends": depends} if depends else {}
    made |= {"input_transformer": {"selector": selector}} if selector else {}
    if node_id == whole["id"] and whole.get("output_transformer"):
        made["output_transformer"] = whole["output_transformer"]
    return made
