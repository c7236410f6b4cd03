"""Parses a flow: a graph of nodes, validated as a whole, with its expressions compiled. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, cast

from pydantic import ValidationError

from stoa.kernel.errors import BadRequest
from stoa.kernel.json_paths import Path, PathError, compiled
from stoa.runs.workflow import conditions
from stoa.runs.workflow.nodes.input import INPUT
from stoa.runs.workflow.nodes.map import MapNode
from stoa.runs.workflow.nodes.node import Depends, Needs, Node, NodeType, Transformer
from stoa.runs.workflow.nodes.output import OUTPUT
from stoa.runs.workflow.nodes.subagent import HELD, held_agent
from stoa.runs.workflow.paths import Field, field, nodes_of
from stoa.runs.workflow.registry import NODE_TYPES, canonical, close_to, instead_of

NODES_MAX: Final = 500
EDGES_MAX: Final = 5_000
DEPTH_MAX: Final = 200
"""The longest chain of dependent nodes."""
MAP_DEPTH_MAX: Final = 3
FIELDS_MAX: Final = 5_000
"""The limit of all selectors of a flow together."""
PROBLEMS_MAX: Final = 20
"""The limit of a flow's problems that one refusal lists."""
AT_ONCE_MAX: Final = 16
"""The limit of one run's nodes that run concurrently."""
INNER: Final = "*"
"""Replaces the item's index in the key of a Map's node: `map/*`."""
_LISTED: Final = "GET /v1/agent-builder/nodes lists the types that run"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A compiled transformer: `path` selects a part, then `fields` build an object."""

    path: Path | None
    fields: Mapping[str, Field] | None

    @property
    def cheap(self) -> bool:
        return (self.path is None or self.path.cheap) and all(one.cheap for one in (self.fields or {}).values())

    def of(self, data: Any) -> Any:
        """Raises PathError."""
        chosen = data if self.path is None else self.path.one(data)
        if self.fields is None:
            return chosen
        return {name: one.of(chosen) for name, one in self.fields.items()}


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """A node and its position. `key` identifies it in the flow: its id, or `map/*` within a Map."""

    key: str
    node: Node
    type: NodeType
    depends: Sequence[Depends]
    ancestors: frozenset[str]
    inputs: Mapped | None
    outputs: Mapped | None
    inner: "GraphNode | None" = None

    @property
    def joins(self) -> bool:
        return self.type is OUTPUT

    @property
    def returns(self) -> bool:
        """Whether dependent nodes run although this one failed or was skipped."""
        handling = self.node.error_handling
        return handling is not None and handling.behavior == "return"


@dataclass(frozen=True)
class Graph:
    """A validated graph: its nodes, sorted so that each follows all that it depends on."""

    nodes: Sequence[GraphNode]
    at_once: int = AT_ONCE_MAX

    @cached_property
    def by_id(self) -> Mapping[str, GraphNode]:
        return {one.node.id: one for one in self.nodes}

    @cached_property
    def dependents(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the nodes that depend on a node, by that node's id."""
        found: dict[str, list[int]] = {one.node.id: [] for one in self.nodes}
        for number, one in enumerate(self.nodes):
            for node_id in {edge.node for edge in one.depends}:
                found[node_id].append(number)
        return found

    def node(self, node_id: str) -> GraphNode:
        return self.by_id[node_id]

    @cached_property
    def handled(self) -> frozenset[str]:
        """Nodes with an outgoing error edge: their failure is a branch."""
        return frozenset(edge.node for one in self.nodes for edge in one.depends if edge.trigger == "failure")

    @cached_property
    def branching(self) -> frozenset[str]:
        """Nodes that a branch may skip: below an option, a condition or an error edge."""
        found: set[str] = set(self.handled)
        for one in self.nodes:
            if any(edge.option or edge.condition or edge.trigger == "failure" or edge.node in found
                   for edge in one.depends):  # fmt: skip
                found.add(one.node.id)
        return frozenset(found)

    @cached_property
    def costly(self) -> bool:
        """Whether evaluating an edge's condition may take long."""
        edges = [edge.condition for one in self.nodes for edge in one.depends if edge.condition is not None]
        return any(conditions.costly(one) for one in edges)

    def everywhere(self) -> Iterator[GraphNode]:
        """Every node, those within Maps included."""
        for one in self.nodes:
            at: GraphNode | None = one
            while at is not None:
                yield at
                at = at.inner

    def needs(self) -> Mapping[str, Needs]:
        """What each node uses of the project, by its key."""
        return {one.key: one.node.needs() for one in self.everywhere()}


def read(flow: Mapping[str, Any]) -> Graph:
    """Parses and validates the flow. Raises BadRequest that names each invalid node. A large flow takes long, so it is
    read off the event loop."""
    nodes = flow.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise BadRequest.field("flow.nodes", "must be a list with at least one node; or send flow.agent")
    given = cast("list[Any]", nodes)
    if len(given) > NODES_MAX:
        raise BadRequest.field("flow.nodes", f"holds more than {NODES_MAX} nodes")
    problems: dict[str, str] = {}
    found = [node for index, one in enumerate(given) if (node := _node(one, f"flow.nodes[{index}]", problems))]
    if not problems:
        problems |= _whole([node for node, _ in found])
    _raise(problems)
    graph = _placed([node for node, _ in found], problems)
    _raise(problems)
    wanted = flow.get("max_node_workers")
    at_once = min(wanted, AT_ONCE_MAX) if isinstance(wanted, int) and wanted >= 1 else AT_ONCE_MAX
    return Graph(graph, at_once)


# --- one node -------------------------------------------------------------------------------------------------------
def _node(given: Any, path: str, problems: dict[str, str], depth: int = 0) -> tuple[Node, NodeType] | None:
    """The node and its type, or its problems."""
    if not isinstance(given, Mapping):
        problems[path] = "must be an object with id, name and type"
        return None
    fields = cast("Mapping[str, Any]", given)
    before = len(problems)
    kind = _check_type(fields, path, problems)
    _check_parts(fields, path, problems)
    if kind is not None and kind.tool_only:
        name = fields.get("id") or fields.get("name") or "?"
        problems[f"{path}.type"] = f"is {kind.name!r} (node {name!r}), a tool for agents: put it into an agent's tools"
    if kind is None or len(problems) > before:
        return None
    try:
        node = kind.schema.model_validate(_lenient(fields))
    except ValidationError as error:
        for one in error.errors(include_url=False)[:PROBLEMS_MAX]:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"])
            problems[f"{path}{where}"] = str(one["msg"])
        return None
    for where, reason in node.problems():
        problems[f"{path}.{where}"] = f"(node {node.title!r}) {reason}"
    if isinstance(node, MapNode):
        if depth >= MAP_DEPTH_MAX:
            problems[f"{path}.node"] = f"is a Map within more than {MAP_DEPTH_MAX} Maps"
        else:
            _node(_inner(node), f"{path}.node", problems, depth + 1)
    return (node, kind) if len(problems) == before else None


def _inner(node: MapNode) -> Mapping[str, Any]:
    """A Map's node, which needs no id of its own."""
    return {"id": "item", **{name: value for name, value in node.node.items() if value is not None}, "depends": ()}


def _check_parts(fields: Mapping[str, Any], path: str, problems: dict[str, str], depth: int = 0) -> None:
    """Checks the types of an agent's parts: its model, its tools, the tools of its subagents."""
    tools = fields.get("tools")
    for index, tool in enumerate(cast("list[Any]", tools) if isinstance(tools, list) else []):
        if isinstance(tool, Mapping) and "type" in tool and depth < MAP_DEPTH_MAX:
            part = cast("Mapping[str, Any]", tool)
            if str(part.get("type")) != "function":  # OpenAI's form, in a model's node.
                _check_type(part, f"{path}.tools[{index}]", problems)
                _check_parts(part, f"{path}.tools[{index}]", problems, depth + 1)
                if (held := held_agent(part)) is not None:
                    _check_parts(held, f"{path}.tools[{index}].agent", problems, depth + 1)
    if isinstance(llm := fields.get("llm"), Mapping):
        _check_type(cast("Mapping[str, Any]", llm), f"{path}.llm", problems)


def _check_type(fields: Mapping[str, Any], path: str, problems: dict[str, str]) -> NodeType | None:
    kind = fields.get("type")
    known = NODE_TYPES.get(canonical(kind)) if isinstance(kind, str) else None
    name = fields.get("id") or fields.get("name") or "?"
    if known is None:
        near = close_to(kind) if isinstance(kind, str) else None
        way = instead_of(kind) if isinstance(kind, str) else None
        hint = f"did you mean {near}?" if near else way or _LISTED
        problems[f"{path}.type"] = f"is {kind!r} (node {name!r}), which this server does not run; {hint}"
    elif known.refused is not None:
        problems[f"{path}.type"] = f"is {kind!r} (node {name!r}): it {known.refused}"
    else:
        return known
    return None


def _lenient(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Normalizes what the platform's clients write: shorter forms of `depends`, null for an absent field, and the
    aliases of each type."""
    given = {name: value for name, value in fields.items() if value is not None}
    given["type"] = canonical(str(given["type"]))
    depends = given.get("depends")
    if isinstance(depends, str | Mapping):
        depends = [depends]
    if isinstance(depends, list):
        given["depends"] = [{"node": one} if isinstance(one, str) else one for one in cast("list[Any]", depends)]
    for name in ("tools", "llm"):
        if name in given:
            given[name] = _canonical_parts(given[name])
    if "selector" in given and "input_transformer" not in given:  # The platform's command line reads it so.
        given["input_transformer"] = {"selector": given["selector"]}
    return given


def _canonical_parts(part: Any) -> Any:
    if isinstance(part, list):
        return [_canonical_parts(one) for one in cast("list[Any]", part)]
    if not isinstance(part, Mapping):
        return part
    fields = {name: value for name, value in cast("Mapping[str, Any]", part).items() if value is not None}
    if isinstance(fields.get("type"), str):
        fields["type"] = canonical(fields["type"])
    for name in ("tools", *HELD):
        if name in fields:
            fields[name] = _canonical_parts(fields[name])
    return fields


# --- the whole ------------------------------------------------------------------------------------------------------
def _whole(nodes: Sequence[Node]) -> dict[str, str]:
    """Problems of the graph whose nodes are each valid."""
    problems: dict[str, str] = {}
    index_of: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if node.id in index_of:
            problems[f"flow.nodes[{index}].id"] = f"is {node.id!r}, as that of flow.nodes[{index_of[node.id]}]"
        index_of.setdefault(node.id, index)
    for index, node in enumerate(nodes):
        for number, edge in enumerate(node.depends):
            if reason := _edge_problem(edge, node, index_of, nodes):
                problems[f"flow.nodes[{index}].depends[{number}].{reason[0]}"] = f"(node {node.title!r}) {reason[1]}"
    if sum(len(node.depends) for node in nodes) > EDGES_MAX:
        problems["flow.nodes"] = f"have more than {EDGES_MAX} edges"
    inputs = [node.title for node in nodes if node.type == INPUT.name]
    if len(inputs) != 1:
        named = f": {', '.join(inputs[:5])}" if inputs else ""
        problems["flow.nodes"] = f"must hold one node of type {INPUT.name}; there are {len(inputs)}{named}"
    elif not any(node.type == OUTPUT.name for node in nodes):
        problems["flow.nodes"] = f"must hold a node of type {OUTPUT.name}: else the flow answers nothing"
    if not problems and (reason := _order_problem(nodes)):
        problems["flow.nodes"] = reason
    return problems


def _order_problem(nodes: Sequence[Node]) -> str | None:
    try:
        depth = _depth(_ordered(nodes))
    except CycleError as error:
        return f"go round in a circle: {' → '.join(error.args[1])}"
    return f"wait for one another {depth} deep; at most {DEPTH_MAX} are run" if depth > DEPTH_MAX else None


def _edge_problem(
    edge: Depends, node: Node, index_of: Mapping[str, int], nodes: Sequence[Node]
) -> tuple[str, str] | None:
    if edge.node not in index_of:
        return "node", f"is {edge.node!r}, which is no node"
    if edge.node == node.id:
        return "node", f"is {edge.node!r}: a node cannot wait for itself"
    if node.type == INPUT.name:
        return "node", "cannot be set: the flow's input waits for nothing"
    if edge.option is not None:
        options = [one.id for one in getattr(nodes[index_of[edge.node]], "options", ())]
        if edge.trigger == "failure":
            return "option", "cannot stand with trigger failure"
        if edge.option not in options:
            known = ", ".join(options[:10]) or "none: it is no Choice"
            return "option", f"is {edge.option!r}, which {edge.node!r} does not have; its options: {known}"
    if edge.condition is not None and (why := conditions.problem(edge.condition)):
        return "condition", why
    return None


def _ordered(nodes: Sequence[Node]) -> Sequence[Node]:
    by_id = {node.id: node for node in nodes}
    sorter = TopologicalSorter({node.id: [one.node for one in node.depends] for node in nodes})
    return [by_id[one] for one in sorter.static_order()]


def _depth(order: Sequence[Node]) -> int:
    depths: dict[str, int] = {}
    for node in order:
        depths[node.id] = 1 + max((depths[edge.node] for edge in node.depends), default=0)
    return max(depths.values())


# --- expressions ----------------------------------------------------------------------------------------------------
def _placed(nodes: Sequence[Node], problems: dict[str, str]) -> Sequence[GraphNode]:
    """The nodes in order, with what they may read and their expressions compiled."""
    ancestors: dict[str, frozenset[str]] = {}
    indexes = {node.id: index for index, node in enumerate(nodes)}
    placed: list[GraphNode] = []
    fields = 0
    for node in _ordered(nodes):
        above = frozenset(edge.node for edge in node.depends)
        ancestors[node.id] = above.union(*(ancestors[one] for one in above))
        path = f"flow.nodes[{indexes[node.id]}]"
        _check_names(node, path, ancestors[node.id], indexes, problems)
        placed.append(_graph_node(node, node.id, path, ancestors[node.id], problems))
        fields += sum(len(one.fields or ()) for one in (placed[-1].inputs, placed[-1].outputs) if one)
    if fields > FIELDS_MAX:
        problems["flow.nodes"] = f"have selectors of more than {FIELDS_MAX} fields"
    return placed


def _graph_node(node: Node, key: str, path: str, ancestors: frozenset[str], problems: dict[str, str]) -> GraphNode:
    inner = None
    if isinstance(node, MapNode):
        found = _node(_inner(node), f"{path}.node", problems)
        assert found is not None, "a Map's node was checked with it"
        inner = _graph_node(found[0], f"{key}/{INNER}", f"{path}.node", frozenset(), problems)
    return GraphNode(
        key,
        node,
        NODE_TYPES[node.type],
        node.depends,
        ancestors,
        _mapped(node.input_transformer, f"{path}.input_transformer", problems),
        _mapped(node.output_transformer, f"{path}.output_transformer", problems),
        inner,
    )


def _mapped(transformer: Transformer | None, path: str, problems: dict[str, str]) -> Mapped | None:
    if transformer is None or not (transformer.path or transformer.selector):
        return None
    chosen: Path | None = None
    fields: dict[str, Field] = {}
    try:
        chosen = compiled(transformer.path) if transformer.path else None
    except PathError as error:
        problems[f"{path}.path"] = str(error)
    for name, value in (transformer.selector or {}).items():
        try:
            fields[name] = field(value)
        except PathError as error:
            problems[f"{path}.selector.{name}"] = str(error)
    return Mapped(chosen, fields or None)


def _check_names(
    node: Node, path: str, ancestors: frozenset[str], indexes: Mapping[str, int], problems: dict[str, str]
) -> None:
    """A path may name only nodes that this one depends on: the result of another node might not exist yet."""
    selector = (node.input_transformer.selector if node.input_transformer else None) or {}
    if node.input_transformer is not None and node.input_transformer.path:
        return
    for name, value in selector.items():
        try:
            named = list(nodes_of(value)) if isinstance(value, str) else []
        except PathError:
            continue  # Reported where it is compiled.
        for one in named:
            if one in indexes and one not in ancestors:
                problems[f"{path}.input_transformer.selector.{name}"] = (
                    f"reads the node {one!r}, which {node.id!r} does not depend on"
                )


def _raise(problems: Mapping[str, str]) -> None:
    if problems:
        shown = dict(list(problems.items())[:PROBLEMS_MAX])
        raise BadRequest("; ".join(f"{path} {reason}" for path, reason in shown.items()), details=shown)
