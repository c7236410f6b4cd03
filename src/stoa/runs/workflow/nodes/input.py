"""The start of a flow: the fields that a caller sends."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType


class InputNode(Node):
    """`schema` names the fields; those in its `required` must be there."""

    json_schema: Mapping[str, Any] | None = Field(default=None, alias="schema")


def _decide(node: InputNode, inputs: Inputs) -> Any:
    wanted = (node.json_schema or {}).get("required")
    missing = [name for name in wanted if name not in inputs.own] if isinstance(wanted, list) else []
    if missing:
        raise NodeFailed("input_invalid", f"the input lacks {', '.join(map(str, missing))}")
    return dict(inputs.own)


INPUT: Final = NodeType(
    name="dynamiq.nodes.utils.Input",
    group="utils",
    description="The fields that the caller sends. A flow has one.",
    schema=InputNode,
    decide=_decide,
)
TYPES: Final = (INPUT,)
