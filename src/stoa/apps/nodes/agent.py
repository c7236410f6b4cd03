"""An agent: a model that calls tools until it has its answer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from stoa.apps.nodes.llm import Llm
from stoa.apps.nodes.node import Node, NodePart, NodeType


class AgentTool(NodePart):
    """A tool, or an agent that becomes a subagent."""

    type: Annotated[str, Field(min_length=1, max_length=200)]
    id: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    description: str | None = None
    role: Annotated[str, Field(max_length=100_000)] | None = None


class AgentNode(Node):
    llm: Llm
    role: Annotated[str, Field(max_length=100_000)] | None = None
    instructions: Annotated[str, Field(max_length=100_000)] | None = None
    tools: Annotated[Sequence[AgentTool], Field(max_length=128)] = ()
    max_loops: Annotated[int, Field(ge=1, le=1_000)] | None = None
    memory: Mapping[str, Any] | Literal[True] | None = None
    response_format: Mapping[str, Any] | None = None


AGENT: Final = NodeType(
    "dynamiq.nodes.agents.Agent",
    "agents",
    "Agent",
    "A model with a role, tools and subagents; it answers its field `input` in its field `content`.",
    AgentNode,
)
