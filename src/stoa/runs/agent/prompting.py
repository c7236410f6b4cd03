"""The model's prompt in the middle of a run: the conversation, then the run's own turns, truncated to fit. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson

from stoa.gateway import (
    DocumentPart,
    ModelMessage,
    ModelRequest,
    Part,
    ProviderData,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    estimated_tokens,
)
from stoa.runs.agent.checkpoint import AgentState, CallState, Turn, outcome_of
from stoa.runs.agent.definition import Agent

CONTEXT_SHARE: Final = 0.85
"""Share of a model's context for the prompt; the rest is for its reply and for the error of our estimate."""
SHORTENED_CHARACTERS: Final = 400
"""Characters that remain of a truncated tool result."""


def request(
    conversation: ModelRequest, agent: Agent, state: AgentState, tools: Sequence[ToolSpec], context_tokens: int
) -> tuple[ModelRequest, int]:
    """The next request, and its number of truncated tool results: the oldest first, never those of the last turn."""
    if state.brief is None:
        begun, notes = list(conversation.messages), [agent.instructions, conversation.instructions]
    else:
        begun, notes = [ModelMessage("user", (TextPart(state.brief),))], [agent.instructions]
    extra = dict(conversation.extra)
    if "tool_choice" in extra and (not tools or state.brief is not None or any(turn.calls for turn in state.turns)):
        del extra["tool_choice"]  # If the model had to call a tool each time, the run would never end.
    if not tools:
        extra.pop("parallel_tool_calls", None)
    made = replace(
        conversation,
        extra=extra,
        messages=[*begun, *turn_messages(state.turns)],
        instructions="\n\n".join(note for note in notes if note) or None,
        tools=tools,
        output_schema=agent.output_schema,
        output_tokens_max=agent.limits.output_tokens_max,
    )
    over = estimated_tokens(characters(made)) - int(context_tokens * CONTEXT_SHARE)
    if over <= 0:
        return made, 0
    shortened = 0
    messages = list(made.messages)
    for position in range(len(begun), len(messages) - 1):
        if over <= 0:
            break
        message = _shortened(messages[position])
        if message is not messages[position]:
            over -= estimated_tokens(_size(messages[position])) - estimated_tokens(_size(message))
            messages[position] = message
            shortened += 1
    return replace(made, messages=messages), shortened


def turn_messages(turns: Sequence[Turn]) -> list[ModelMessage]:
    """Replies with their calls, each call with its result: a call without one is refused by every provider."""
    messages: list[ModelMessage] = []
    for turn in turns:
        if turn.note is not None:
            messages.append(ModelMessage("user", (TextPart(turn.note),)))
            continue
        parts: list[Part] = [TextPart(turn.text)] if turn.text else []
        parts += [ToolCallPart(call.id, call.name, _arguments(call)) for call in turn.calls]
        if parts:
            messages.append(ModelMessage("assistant", tuple(parts), _provider(turn)))
        if settled := [call for call in turn.calls if call.settled]:
            messages.append(ModelMessage("tool", tuple(_result(call) for call in settled)))
    return messages


def _provider(turn: Turn) -> ProviderData | None:
    return ProviderData(turn.provider["source"], turn.provider["data"]) if turn.provider is not None else None


def _arguments(call: CallState) -> str:
    """The arguments of the actual call, because a person may have changed them. What the model wrote is kept even where
    it is no JSON, so that the model can see its own mistake; the providers' adapters make it valid."""
    return orjson.dumps(call.params).decode() if call.params is not None else call.arguments or "{}"


def _result(call: CallState) -> ToolResultPart:
    return ToolResultPart(call.id, call.name, outcome_of(call), failed=call.result is None)


def _shortened(message: ModelMessage) -> ModelMessage:
    parts: list[Part] = []
    changed = False
    for part in message.parts:
        if isinstance(part, ToolResultPart) and len(part.result) > 2 * SHORTENED_CHARACTERS:
            left_out = len(part.result) - SHORTENED_CHARACTERS
            part, changed = (  # noqa: PLW2901
                replace(
                    part,
                    result=f"{part.result[:SHORTENED_CHARACTERS]}…"
                    f" [{left_out} more characters were left out to save room]",
                ),
                True,
            )
        parts.append(part)
    return replace(message, parts=tuple(parts)) if changed else message


def characters(made: ModelRequest) -> int:
    tools = sum(len(tool.description) + len(orjson.dumps(tool.parameters)) for tool in made.tools)
    return len(made.instructions or "") + tools + sum(map(_size, made.messages))


def _size(message: ModelMessage) -> int:
    total = 0
    for part in message.parts:
        if type(part) is TextPart:  # The usual case.
            total += len(part.text)
            continue
        match part:
            case DocumentPart():
                total += sum(len(passage.text) for passage in part.passages)
            case ToolCallPart():
                total += len(part.arguments) + len(part.name)
            case ToolResultPart():
                total += len(part.result)
            case _:
                pass  # Images are counted by their providers in ways of their own.
    return total
