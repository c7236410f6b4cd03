"""The built-in tools of every agent: asking a person, and handing a part of the work to a subagent. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoa.gateway import ToolSpec
from stoa.runs.agent.definition import Agent, Subagent
from stoa.tools import Tool, ToolKind

ASK: Final = "ask_human"
DELEGATE: Final = "delegate"

_ASK_SPEC: Final = ToolSpec(
    ASK,
    "Asks the person you work for. Use it when you cannot go on without knowing something that only they can tell;"
    " the work waits for the answer.",
    {
        "type": "object",
        "properties": {
            "question": {"type": "string", "description": "One clear question."},
            "options": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Answers to choose from, where there are few.",
            },
        },
        "required": ["question"],
    },
)


def is_builtin(name: str) -> bool:
    return name in (ASK, DELEGATE)


def offered(agent: Agent, tools: Mapping[str, Tool], depth: int) -> Sequence[ToolSpec]:
    """The tools that the model may call for this agent."""
    specs = [ToolSpec(tool.name, tool.description, tool.parameters) for tool in tools.values() if allowed(tool, agent)]
    specs += [ToolSpec(tool.name, tool.description, tool.parameters) for tool in agent.client_tools]
    if agent.human_feedback:
        specs.append(_ASK_SPEC)
    if agent.subagents_enabled and depth < agent.limits.subagent_depth_max:
        specs.append(_delegate(agent.subagents))
    return specs


def allowed(tool: Tool, agent: Agent) -> bool:
    """Whether the agent may call it: a tool that its definition names, or one for its resources."""
    resources = agent.resources
    match tool.kind:
        case ToolKind.KNOWLEDGE_BASE:
            return bool(agent.knowledge_bases)
        case ToolKind.MEMORY_STORE:
            return resources.notes is not None
        case ToolKind.SKILL:
            return bool(resources.skills)
        case ToolKind.ARTIFACT:
            return resources.artifacts
        case _:
            return named(tool.name, agent.tools)


def named(tool: str, names: Sequence[str] | frozenset[str]) -> bool:
    """Whether a tool is among the names: itself, or the definition that it comes from (`<definition>__<tool>`)."""
    return tool in names or tool.partition("__")[0] in names


def _delegate(declared: Sequence[Subagent]) -> ToolSpec:
    about = (
        "Hands a part of the work to a subagent, which does it on its own and gives back the result. Call it several"
        " times at"
        " once for parts that do not need one another. The subagent sees nothing of this conversation but the brief."
    )
    properties: dict[str, Any] = {
        "brief": {
            "type": "string",
            "description": "All that the subagent must know: the task, the facts, the form of the result.",
        }
    }
    required = ["brief"]
    if declared:
        about += "\nHelpers: " + "; ".join(f"{one.name}: {one.description}" for one in declared)
        properties["name"] = {"type": "string", "enum": [one.name for one in declared]}
        required.append("name")
    return ToolSpec(DELEGATE, about, {"type": "object", "properties": properties, "required": required})
