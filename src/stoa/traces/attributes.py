"""The attribute names that instrumentations use for the same thing, in one table, newest convention first.

Sources: OpenTelemetry's semantic conventions for generative AI (up to 1.36, 1.37 to 1.41, and v0.1.0 of their own
repository), OpenInference, the `llm.*` and `traceloop.*` names of OpenLLMetry, the `ai.*` names of Vercel's AI SDK, and
what Langfuse, LangSmith and MLflow add. A name that is not listed here stays in the span's attributes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

MODEL: Final = (
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
    "llm.response.model",
    "llm.request.model",
    "ai.response.model",
    "ai.model.id",
    "langfuse.observation.model.name",
)
PROMPT_TOKENS: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
    "ai.usage.promptTokens",
    "ai.usage.inputTokens",
    "ai.usage.tokens",
)
COMPLETION_TOKENS: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
    "ai.usage.completionTokens",
    "ai.usage.outputTokens",
)
COST_USD: Final = ("gen_ai.usage.cost", "llm.cost.total", "gen_ai.usage.total_cost", "llm.usage.total_cost")
SESSION_ID: Final = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
    "ai.telemetry.metadata.sessionId",
    "langsmith.trace.session_id",
    "mlflow.trace.session",
    "gcp.vertex.agent.session_id",
)
USER_ID: Final = (
    "user.id",
    "enduser.id",
    "langfuse.user.id",
    "traceloop.association.properties.user_id",
    "ai.telemetry.metadata.userId",
    "mlflow.trace.user",
    "gen_ai.request.user",
)
TAGS: Final = ("tag.tags", "langfuse.trace.tags", "langfuse.tags", "langsmith.span.tags", "ai.telemetry.metadata.tags")
INPUT: Final = (
    "gen_ai.input.messages",
    "input.value",
    "traceloop.entity.input",
    "gen_ai.prompt",
    "gen_ai.tool.call.arguments",
    "ai.prompt.messages",
    "ai.prompt",
    "ai.toolCall.args",
    "langfuse.observation.input",
    "mlflow.spanInputs",
    "gcp.vertex.agent.llm_request",
)
OUTPUT: Final = (
    "gen_ai.output.messages",
    "output.value",
    "traceloop.entity.output",
    "gen_ai.completion",
    "gen_ai.tool.call.result",
    "ai.response.text",
    "ai.response.object",
    "ai.toolCall.result",
    "langfuse.observation.output",
    "mlflow.spanOutputs",
    "gcp.vertex.agent.llm_response",
)


def first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of `names` that is present."""
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


_INDEXED: Final = re.compile(r"\.(\d{1,4})\.(.{1,200})", re.DOTALL)
PARAMETERS_CHARACTERS_MAX: Final = 10_000
INDEXED_MAX: Final = 1_000

SUMMING_OPERATIONS: Final = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "agent_step", "execute_tool"})
SUMMING_KINDS: Final = frozenset({"AGENT", "CHAIN", "TOOL", "agent", "workflow", "task", "tool"})
SUMMING_AI: Final = frozenset(
    {"ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject", "ai.embedMany"}
)
"""Types of steps that repeat the usage of the model calls below them. Their tokens and cost are not counted: the trace
would count them twice."""


def model(attributes: Mapping[str, Any]) -> Any:
    """Where the provider's response does not repeat the model, OpenInference names it only among the parameters of the
    call."""
    found = first(attributes, MODEL)
    asked = attributes.get("llm.invocation_parameters")
    if found is None and isinstance(asked, str) and len(asked) <= PARAMETERS_CHARACTERS_MAX:
        try:
            parameters = orjson.loads(asked)
        except orjson.JSONDecodeError:
            return None
        return parameters.get("model") if isinstance(parameters, dict) else None
    return found


def repeats_usage(attributes: Mapping[str, Any]) -> bool:
    """Whether a step only repeats the usage of the steps below it."""
    kind = attributes.get("openinference.span.kind") or attributes.get("traceloop.span.kind")
    return (
        _is(attributes.get("gen_ai.operation.name"), SUMMING_OPERATIONS)
        or _is(attributes.get("ai.operationId"), SUMMING_AI)
        or _is(kind, SUMMING_KINDS)
    )


def _is(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


@dataclass(frozen=True, slots=True)
class Side:
    """Where to find a step's input (or output): under one of `names`, under numbered names of a family, or in events
    that hold one message each."""

    names: tuple[str, ...]
    indexed: tuple[str, ...]
    events: frozenset[str]


IN: Final = Side(
    INPUT,
    ("llm.input_messages", "gen_ai.prompt", "llm.prompts"),
    frozenset(
        {"gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message"},
    ),
)
OUT: Final = Side(OUTPUT, ("llm.output_messages", "gen_ai.completion", "llm.completions"), frozenset({"gen_ai.choice"}))
"""Families of numbered names: `gen_ai.prompt.0.content`, `llm.input_messages.0.message.content`."""


def said(attributes: Mapping[str, Any], side: Side, events: Sequence[Any]) -> Any:
    """A step's input or output. It is an attribute of the span, an attribute of one of its events, a list spread over
    numbered names, or a list of events with one message each (conventions 1.28 to 1.36)."""
    found = first(attributes, side.names)
    if found is not None:
        return found
    held = [event for event in events if isinstance(event, Mapping) and isinstance(event.get("attributes"), Mapping)]
    for event in held:
        if (found := first(event["attributes"], side.names)) is not None:
            return found
    for family in side.indexed:
        if listed := _listed(attributes, family):
            return listed
    return [_message(event) for event in held[:INDEXED_MAX] if event.get("name") in side.events] or None


def _message(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Turns an event into a message. The event's name gives the role."""
    role = str(event["name"]).removeprefix("gen_ai.").removesuffix(".message")
    return {"role": "assistant" if role == "choice" else role, **event["attributes"]}


def _listed(attributes: Mapping[str, Any], family: str) -> Sequence[Mapping[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        if name.startswith(family) and (match := _INDEXED.fullmatch(name, len(family))) and len(rows) < INDEXED_MAX:
            rows.setdefault(int(match[1]), {})[match[2].removeprefix("message.")] = value
    return [rows[number] for number in sorted(rows)]
