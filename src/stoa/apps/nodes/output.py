"""Where a flow ends: what its caller gets."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from stoa.apps.nodes.node import Node, NodeType


class OutputNode(Node):
    json_schema: Mapping[str, Any] | None = Field(default=None, alias="schema")


OUTPUT: Final = NodeType(
    "dynamiq.nodes.utils.Output", "utils", "Output", "What the caller gets: its input, transformed.", OutputNode
)
