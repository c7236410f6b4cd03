"""Translates OpenAI's sampling fields to Anthropic's API. Pure.

Fields that the model's generation refuses are left out: from 4.7 on a thinking budget (these models choose the amount
themselves, within an `effort`), temperature, top_p and top_k.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.fields import list_of, object_of, text_of
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.types import Model, ModelMessage, ToolCallPart
from stoa.kernel.errors import BadRequest

SAMPLING: Final = ("temperature", "top_p", "top_k")
THINKING_TOKENS: Final[Mapping[str, int]] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 24_576,
}
"""The thinking budget for each `reasoning_effort`, for models that take a budget."""
THINKING_TOKENS_MIN: Final = 1_024
ADAPTIVE_FROM: Final = (4, 6)
"""The first generation that chooses its own budget."""
NO_SAMPLING_FROM: Final = (4, 7)
"""The first generation that accepts neither a budget nor a temperature."""
_GENERATION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_EFFORTS: Final[Mapping[str, str]] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


def extra_of(model: Model, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's sampling fields, as this model's provider accepts them."""
    if isinstance(model, OpenAIModel):
        return dict(fields)
    return anthropic_extra({"tools": True, **fields}, model.wire_name) if isinstance(model, AnthropicModel) else {}


def anthropic_extra(
    fields: Mapping[str, Any], wire_name: str, messages: Sequence[ModelMessage] = ()
) -> Mapping[str, Any]:
    """`messages` are the conversation so far: with a budget, thinking cannot start within a chain of tool calls whose
    thinking blocks are missing."""
    generation = generation_of(wire_name)
    extra: dict[str, Any] = {}
    if generation < NO_SAMPLING_FROM:
        extra |= {name: fields[name] for name in ("top_p", "top_k") if fields.get(name) is not None}
        if isinstance(temperature := fields.get("temperature"), int | float):
            extra["temperature"] = min(temperature, 1.0)  # OpenAI's range ends at 2.
    if stop := [text for text in list_of(fields.get("stop")) if isinstance(text, str) and text.strip()]:
        extra["stop_sequences"] = stop
    if isinstance(user := fields.get("user"), str) and user:
        extra["metadata"] = {"user_id": user}
    if (choice := _tool_choice(fields)) is not None:
        extra["tool_choice"] = choice
    extra |= _thinking(fields, generation, messages, forced=choice is not None and choice["type"] in ("any", "tool"))
    if object_of(extra.get("thinking")).get("type") in ("enabled", "adaptive"):
        for name in ("temperature", "top_k"):  # With thinking the API accepts neither.
            extra.pop(name, None)
    return extra


def left_out(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> list[str]:
    """The sampling fields that are not sent to the provider."""
    names = [name for name in SAMPLING if fields.get(name) is not None and name not in extra]
    thinks = fields.get("reasoning_effort") not in (None, "none")
    return [*names, "reasoning_effort"] if thinks and "thinking" not in extra else names


def generation_of(wire_name: str) -> tuple[int, int]:
    """(4, 7) for claude-opus-4-7; (0, 0) if the name does not say."""
    found = _GENERATION.search(wire_name)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def limit_of(fields: Mapping[str, Any]) -> int | None:
    """The caller's limit of output tokens. Raises BadRequest naming the field."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = fields.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadRequest.field(name, "must be a whole number of at least 1")
            return value
    return None


# --- thinking -------------------------------------------------------------------------------------------------------
def _thinking(
    fields: Mapping[str, Any], generation: tuple[int, int], messages: Sequence[ModelMessage], *, forced: bool
) -> dict[str, Any]:
    """The caller's own `thinking` field, else the translation of the effort. If a tool must be called, the API does not
    accept thinking."""
    if isinstance(thinking := fields.get("thinking"), dict):
        return {"thinking": thinking}
    effort = text_of(fields.get("reasoning_effort"))
    if effort not in THINKING_TOKENS or forced:
        return {}
    if generation >= ADAPTIVE_FROM:
        shown = {"display": "summarized"} if generation >= NO_SAMPLING_FROM else {}
        strongest = effort if generation >= NO_SAMPLING_FROM else "max" if effort == "max" else "high"
        return {
            "thinking": {"type": "adaptive", **shown},
            "output_config": {"effort": _EFFORTS.get(effort, strongest)},
        }
    limit = limit_of(fields)
    if (limit is not None and limit <= THINKING_TOKENS_MIN) or _unsigned(messages):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": _within(THINKING_TOKENS[effort], limit)}}


def _within(budget: int, limit: int | None) -> int:
    """Limits the budget, so that some of the output tokens remain for the answer."""
    return budget if limit is None else max(min(budget, limit // 2), THINKING_TOKENS_MIN)


def _unsigned(messages: Sequence[ModelMessage]) -> bool:
    """Whether the last answer called tools and its thinking blocks did not come back: the API then refuses thinking."""
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return last is not None and last.provider is None and any(isinstance(part, ToolCallPart) for part in last.parts)


def _tool_choice(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    if not fields.get("tools") or fields.get("tool_choice") == "none":
        return None
    choice = fields.get("tool_choice")
    made: dict[str, Any] | None = None
    if choice == "required":
        made = {"type": "any"}
    elif isinstance(choice, dict):
        allowed = object_of(choice.get("allowed_tools"))
        if choice.get("type") == "allowed_tools":  # The other tools are not sent.
            made = {"type": "any"} if allowed.get("mode") == "required" else None
        else:
            made = {"type": "tool", "name": text_of(object_of(choice.get("function")).get("name"))}
    if fields.get("parallel_tool_calls") is False:
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made
