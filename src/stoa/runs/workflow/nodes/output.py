"""The end of a flow: the result for its caller."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from stoa.runs.workflow.nodes.node import Inputs, Node, NodeType


class OutputNode(Node):
    json_schema: Mapping[str, Any] | None = Field(default=None, alias="schema")


def _decide(_: OutputNode, inputs: Inputs) -> Any:
    return dict(inputs.values)


OUTPUT: Final = NodeType(
    name="dynamiq.nodes.utils.Output",
    group="utils",
    description="What the caller gets: its input, transformed.",
    schema=OutputNode,
    decide=_decide,
)
TYPES: Final = (OUTPUT,)
