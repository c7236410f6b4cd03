"""Reads a flow: the shorthand of one agent, or a graph of nodes, checked as a whole. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, cast

from pydantic import ValidationError

from stoa.apps.nodes import INPUT, NODE_TYPES, OUTPUT, MapNode, Node
from stoa.apps.types import Change
from stoa.kernel.errors import BadRequest

NODES_MAX: Final = 500
PROBLEMS_MAX: Final = 20
"""Of one flow, that are named at once."""
_LISTED: Final = "GET /v1/agent-builder/nodes lists the types that run"


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked graph: its nodes, each after all that it depends on."""

    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Shorthand:
    """`{"agent": {…}}`: Input → Agent → Output."""

    agent: Mapping[str, Any]


def read(flow: Mapping[str, Any]) -> Shorthand | Graph:
    """The flow, checked for a release. Raises BadRequest that names each bad node."""
    if "agent" in flow:
        agent = flow["agent"]
        if not isinstance(agent, Mapping) or "nodes" in flow:
            raise BadRequest.field("flow.agent", "must be an object, and stand for the whole flow, without nodes")
        return Shorthand(cast("Mapping[str, Any]", agent))
    nodes = flow.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise BadRequest.field("flow.nodes", "must be a list with at least one node; or send flow.agent")
    given = cast("list[Any]", nodes)
    if len(given) > NODES_MAX:
        raise BadRequest.field("flow.nodes", f"holds more than {NODES_MAX} nodes")
    problems: dict[str, str] = {}
    read_nodes = [node for index, one in enumerate(given) if (node := _node(one, f"flow.nodes[{index}]", problems))]
    if not problems:
        problems |= _whole(read_nodes)
    _raise(problems)
    return Graph(_ordered(read_nodes))


def _node(given: Any, path: str, problems: dict[str, str]) -> Node | None:
    """The node, or what is wrong with it."""
    if not isinstance(given, Mapping):
        problems[path] = "must be an object with id, name and type"
        return None
    fields = cast("Mapping[str, Any]", given)
    before = len(problems)
    kind = _check_type(fields, path, problems)
    tools = fields.get("tools")
    for index, tool in enumerate(cast("list[Any]", tools) if isinstance(tools, list) else []):
        if isinstance(tool, Mapping):
            _check_type(cast("Mapping[str, Any]", tool), f"{path}.tools[{index}]", problems)
    if isinstance(llm := fields.get("llm"), Mapping):
        _check_type(cast("Mapping[str, Any]", llm), f"{path}.llm", problems)
    if kind is None or len(problems) > before:
        return None
    try:
        node = NODE_TYPES[kind].schema.model_validate(_lenient(fields))
    except ValidationError as error:
        for one in error.errors(include_url=False)[:PROBLEMS_MAX]:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"])
            problems[f"{path}{where}"] = str(one["msg"])
        return None
    if isinstance(node, MapNode):
        _node(node.node, f"{path}.node", problems)
    return node


def _check_type(fields: Mapping[str, Any], path: str, problems: dict[str, str]) -> str | None:
    kind = fields.get("type")
    known = NODE_TYPES.get(kind) if isinstance(kind, str) else None
    name = fields.get("id") or fields.get("name") or "?"
    if known is None:
        problems[f"{path}.type"] = f"is {kind!r} (node {name!r}), which this server does not run; {_LISTED}"
    elif known.refused is not None:
        problems[f"{path}.type"] = f"is {kind!r} (node {name!r}): it {known.refused}"
    else:
        return known.type
    return None


def _lenient(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """`depends` in the shorter forms that the platform's clients write too; an absent field for a null one."""
    given = {name: value for name, value in fields.items() if value is not None}
    depends = given.get("depends")
    if isinstance(depends, str | Mapping):
        depends = [depends]
    if isinstance(depends, list):
        given["depends"] = [{"node": one} if isinstance(one, str) else one for one in cast("list[Any]", depends)]
    return given


def _whole(nodes: Sequence[Node]) -> dict[str, str]:
    """What is wrong with the graph, of nodes that are right each by itself."""
    problems: dict[str, str] = {}
    index_of: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if node.id in index_of:
            problems[f"flow.nodes[{index}].id"] = f"is {node.id!r}, as that of flow.nodes[{index_of[node.id]}]"
        index_of.setdefault(node.id, index)
    for index, node in enumerate(nodes):
        for number, depends in enumerate(node.depends):
            if depends.node not in index_of:
                problems[f"flow.nodes[{index}].depends[{number}].node"] = f"is {depends.node!r}, which is no node"
    inputs = [node for node in nodes if node.type == INPUT.type]
    if len(inputs) != 1:
        problems["flow.nodes"] = f"must hold one node of type {INPUT.type}; there are {len(inputs)}"
    elif not any(node.type == OUTPUT.type for node in nodes):
        problems["flow.nodes"] = f"must hold a node of type {OUTPUT.type}: else the flow answers nothing"
    if not problems:
        try:
            _ordered(nodes)
        except CycleError as error:
            problems["flow.nodes"] = f"go round in a circle: {' → '.join(error.args[1])}"
    return problems


def _ordered(nodes: Sequence[Node]) -> Sequence[Node]:
    by_id = {node.id: node for node in nodes}
    sorter = TopologicalSorter({node.id: [one.node for one in node.depends] for node in nodes})
    return [by_id[one] for one in sorter.static_order()]


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> Sequence[Change]:
    """What differs between two flows, in the order of the first: fields of the shorthand's agent, or nodes."""
    here, there = _parts(now), _parts(then)
    paths = [*here, *(path for path in there if path not in here)]
    return [Change(path, here.get(path), there.get(path)) for path in paths if here.get(path) != there.get(path)]


def _parts(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    agent, nodes = flow.get("agent"), flow.get("nodes")
    if isinstance(agent, Mapping):
        return {f"agent.{name}": value for name, value in cast("Mapping[str, Any]", agent).items()}
    listed = cast("list[Any]", nodes) if isinstance(nodes, list) else []
    return {f"nodes.{one['id']}": one for one in listed if isinstance(one, Mapping) and "id" in one}


def _raise(problems: Mapping[str, str]) -> None:
    if problems:
        shown = dict(list(problems.items())[:PROBLEMS_MAX])
        raise BadRequest("; ".join(f"{path} {reason}" for path, reason in shown.items()), details=shown)
