"""A fork: each option is a condition on the node's input; nodes depend on an option of it."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from stoa.apps.nodes.node import Condition, Node, NodePart, NodeType


class Option(NodePart):
    """An option without a condition is taken when no other was."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: str | None = None
    condition: Condition | None = None


class ChoiceNode(Node):
    options: Annotated[Sequence[Option], Field(max_length=255)] = ()
    hit_policy: Literal["first", "all"] = "first"


CHOICE: Final = NodeType(
    "dynamiq.nodes.operators.Choice",
    "operators",
    "Choice",
    "Takes the first option whose condition holds, or all of them (`hit_policy`).",
    ChoiceNode,
)
