"""One node, run for each item of its field `input`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from stoa.apps.nodes.node import Node, NodeType


class MapNode(Node):
    node: Mapping[str, Any]
    max_workers: Annotated[int, Field(ge=1, le=64)] = 1
    behavior: Literal["raise", "return"] = "return"


MAP: Final = NodeType(
    "dynamiq.nodes.operators.Map",
    "operators",
    "Map",
    "Runs its node once for each item of the list `input`; gives the list `output`.",
    MapNode,
)
