"""Where a flow begins: the fields that a caller sends."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from stoa.apps.nodes.node import Node, NodeType


class InputNode(Node):
    json_schema: Mapping[str, Any] | None = Field(default=None, alias="schema")


INPUT: Final = NodeType(
    "dynamiq.nodes.utils.Input", "utils", "Input", "The fields that the caller sends. A flow has one.", InputNode
)
