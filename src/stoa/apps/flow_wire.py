"""The JSON shapes of what is said about flows: types of nodes, verdicts, differences."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from stoa.apps.differences import Difference
from stoa.apps.types import NodeKind, Verdict
from stoa.apps.wire import FLOW
from stoa.http import Body, Wire


class ValidateFlow(Body):
    """Without `flow`, the saved one is checked."""

    example: ClassVar[Mapping[str, Any]] = {"flow": FLOW}

    flow: dict[str, Any] | None = None


class NodeTypeWire(Wire):
    """`type` is the value of a node's `type`; `node_schema` describes the other fields that this server reads."""

    type: str
    group: str
    name: str
    description: str
    node_schema: dict[str, Any]


class WarningWire(Wire):
    node: str
    message: str


class VerdictWire(Wire):
    """`problems` map a path in the flow to the reason why it would not run. `warnings` name nodes that run, but are
    probably a mistake."""

    valid: bool
    problems: dict[str, str]
    warnings: Sequence[WarningWire]


class DifferenceWire(Wire):
    """`path` names a node by its id, as in `nodes.writer.llm.model`. An added part has no `before`, a removed one no
    `after`."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any | None
    after: Any | None


def node_type(value: NodeKind) -> NodeTypeWire:
    return NodeTypeWire(
        type=value.type,
        group=value.group,
        name=value.name,
        description=value.description,
        node_schema=dict(value.schema),
    )


def verdict(value: Verdict) -> VerdictWire:
    warnings = [WarningWire(node=node, message=message) for node, message in value.warnings]
    return VerdictWire(valid=not value.problems, problems=dict(value.problems), warnings=warnings)


def difference(value: Difference) -> DifferenceWire:
    return DifferenceWire(path=value.path, change=value.change, before=value.before, after=value.after)
