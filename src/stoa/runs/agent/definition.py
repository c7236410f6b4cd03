"""An agent definition: a model's instructions, the tools that it may call, and its limits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stoa.runs.agent.resources import AgentResources

ITERATIONS_MAX: Final = 25
SUBAGENTS_MAX: Final = 8
SUBAGENT_DEPTH_MAX: Final = 1
INPUT_SECONDS_MAX: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run. `iterations` counts replies of the model; `tokens` prompt and completion, subagents included."""

    iterations_max: int = ITERATIONS_MAX
    tokens_max: int | None = None
    cost_usd_max: float | None = None
    subagents_max: int = SUBAGENTS_MAX
    subagent_depth_max: int = SUBAGENT_DEPTH_MAX
    output_tokens_max: int | None = None
    """Per reply; None: the model's own limit."""
    input_seconds_max: float = INPUT_SECONDS_MAX
    """How long a question to a person stays open."""


@dataclass(frozen=True, slots=True)
class Subagent:
    """A declared subagent. Without any, the model alone decides what a subagent does."""

    name: str
    description: str
    instructions: str | None = None
    tools: Sequence[str] | None = None
    """None: the parent's tools."""


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool that the client calls itself: its calls end the run, and the next message brings the results."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Agent:
    instructions: str | None = None
    tools: Sequence[str] = ()
    approvals: frozenset[str] = frozenset()
    """Tools whose calls a person must approve, in addition to those that require it themselves."""
    human_feedback: bool = False
    knowledge_bases: Sequence[str] = ()
    subagents: Sequence[Subagent] = ()
    subagents_enabled: bool = False
    output_schema: Mapping[str, Any] | None = None
    limits: Limits = field(default_factory=Limits)
    client_tools: Sequence[ClientTool] = ()
    resources: AgentResources = field(default_factory=AgentResources)

    @classmethod
    def of(
        cls, definition: Mapping[str, Any] | None, *, subagents_enabled: bool, tools: Sequence[str] | None
    ) -> "Agent":
        """From a conversation's checked `agent` field; `tools` are the only ones that this message allows, None for
        all.
        """
        given = definition or {}
        named = given.get("tools", ())
        allowed = (
            named if tools is None else [name for name in tools if name in named or name.partition("__")[0] in named]
        )
        return cls(
            instructions=given.get("instructions"),
            tools=allowed,
            approvals=frozenset(given.get("approvals", ())),
            knowledge_bases=given.get("knowledge_bases", ()),
            human_feedback=bool(given.get("human_feedback")),
            subagents=[Subagent(**one) for one in given.get("subagents", ())],
            subagents_enabled=subagents_enabled,
            output_schema=given.get("output_schema"),
            limits=Limits(**given.get("limits", {})),
            resources=AgentResources.of(given),
        )

    def wanted(self, wanted: Mapping[str, Any] | None) -> "Agent":
        """The agent with the changes of one message (`SendMessage.wanted`): instructions, schema and limit replace this
        agent's, tools and knowledge bases are added."""
        if not wanted:
            return self
        limit = wanted.get("output_tokens_max")
        return replace(
            self,
            instructions=wanted.get("instructions") or self.instructions,
            tools=list(dict.fromkeys([*self.tools, *wanted.get("tools", ())])),
            approvals=self.approvals | frozenset(wanted.get("approvals", ())),
            knowledge_bases=list(dict.fromkeys([*self.knowledge_bases, *wanted.get("knowledge_bases", ())])),
            output_schema=wanted.get("output_schema") or self.output_schema,
            limits=replace(self.limits, output_tokens_max=limit) if limit else self.limits,
            client_tools=[ClientTool(**tool) for tool in wanted.get("client_tools", ())],
        )

    @property
    def client_names(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self.client_tools)

    def all_tools(self) -> Sequence[str]:
        """Every tool definition that the agent or a declared subagent may call."""
        names = [*self.tools, *(name for one in self.subagents for name in one.tools or ())]
        return list(dict.fromkeys(names))

    def subagent(self, declared: Subagent | None) -> "Agent":
        """A subagent: its own instructions and tools; the knowledge, approvals and limits of this agent; no output
        schema.
        """
        if declared is None:
            return replace(
                self,
                instructions=SUBAGENT_INSTRUCTIONS,
                human_feedback=False,
                subagents=(),
                output_schema=None,
                client_tools=(),
            )
        tools = self.tools if declared.tools is None else declared.tools
        return replace(
            self,
            instructions=declared.instructions,
            tools=tools,
            human_feedback=False,
            subagents=(),
            output_schema=None,
            client_tools=(),
        )


SUBAGENT_INSTRUCTIONS: Final = (
    "You help another assistant with one part of its work. Do exactly what the brief asks, use your tools where they"
    " help,"
    " and answer with the result alone: complete, and short enough to be used."
)
