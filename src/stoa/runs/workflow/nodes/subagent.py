"""The platform's wrapper of an agent that another agent calls."""

from collections.abc import Mapping
from typing import Any, Final, cast

from stoa.runs.workflow.nodes.node import Node, NodeType

SUBAGENT_TOOL: Final = "dynamiq.nodes.tools.SubAgentTool"
HELD: Final = ("agent_factory", "agent")
"""The fields of which one holds the agent. Here each call of any subagent starts with an empty history."""


def held_agent(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The agent that a tool of this type holds."""
    return next((cast("Mapping[str, Any]", fields[one]) for one in HELD if isinstance(fields.get(one), Mapping)), None)


TYPES: Final = (
    NodeType(
        name=SUBAGENT_TOOL,
        group="agents",
        description="For an agent's tools: another agent (`agent_factory`), under a name and a description.",
        schema=Node,
        tool_only=True,
    ),
)
