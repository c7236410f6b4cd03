"""Anthropic's messages wire."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from stoa.gateway.arguments import arguments_in
from stoa.gateway.prices import estimated_tokens
from stoa.gateway.providers.anthropic_reading import AnthropicReading
from stoa.gateway.providers.concessions import Concessions
from stoa.gateway.providers.demands import ANTHROPIC, Demands
from stoa.gateway.providers.documents import as_text
from stoa.gateway.providers.fields import list_of
from stoa.gateway.providers.history import Prepared
from stoa.gateway.providers.reading import Reading
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.providers.toolcalls import Names
from stoa.gateway.types import (
    DocumentPart,
    ImageAddress,
    ImagePart,
    ModelMessage,
    ModelRequest,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

VERSION: Final = "2023-06-01"
OUTPUT_TOKENS_MAX: Final = 32_000
"""The default limit of unknown models: the API requires one, and a too high one is lowered to the provider's."""
OUTPUT_TOKENS: Final = (
    (r"claude-(?:3-(?:opus|sonnet|haiku)|2)", 4_096),
    (r"claude-3-5", 8_192),
    (r"claude-3-7|claude-sonnet-4|claude-haiku-4|claude-opus-4-[5-9]", 64_000),
    (r"claude-opus-4", 32_000),
)
_OUTPUT_TOKENS_MIN: Final = 1_024


def output_tokens_max(wire_name: str) -> int:
    """The longest reply of a model, by its name."""
    return next((limit for pattern, limit in OUTPUT_TOKENS if re.search(pattern, wire_name)), OUTPUT_TOKENS_MAX)


class AnthropicModel(StreamingModel):
    path = "/messages"
    wire = "anthropic"

    def default_demands(self, base_url: str) -> Demands:  # noqa: ARG002 - one wire, one provider
        return ANTHROPIC

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": self._api_key} if self._api_key else {})}

    def body(self, request: ModelRequest, made: Prepared, granted: Concessions) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            **request.extra,
            "model": self._wire_name,
            "max_tokens": 0,
            "stream": True,
            "messages": _alternating(made),
        }
        instructions = [made.instructions] if made.instructions else []
        if request.output_schema is not None:
            schema = orjson.dumps(request.output_schema).decode()
            instructions.append(f"Answer with JSON that satisfies this schema, and with nothing else: {schema}")
        if instructions:
            body["system"] = "\n\n".join(instructions)
        if made.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in made.tools
            ]
            if not made.tools_offered:
                body["tool_choice"] = {"type": "none"}
        body["max_tokens"] = self._limit(request, body, granted)
        if isinstance(control := body.pop("cache_control", None), dict):
            _mark_for_cache(body, control)
        return body

    def _limit(self, request: ModelRequest, body: Mapping[str, Any], granted: Concessions) -> int:
        """The requested limit, at most the model's and the rest of the context after the prompt."""
        limits = [self._abilities.output_tokens_max or output_tokens_max(self._wire_name)]
        limits += [limit for limit in (request.output_tokens_max, granted.output_tokens_max) if limit is not None]
        characters = sum(_characters(body[name]) for name in ("messages", "system", "tools") if name in body)
        room = self._abilities.context_tokens - estimated_tokens(characters)
        return max(min(limits), 1) if room >= min(limits) else max(room, min(*limits, _OUTPUT_TOKENS_MIN))

    def reading(self, names: Names) -> Reading:
        return AnthropicReading(self.clean, names, self._source)


def _mark_for_cache(body: dict[str, Any], control: Mapping[str, Any]) -> None:
    """Sets the cache breakpoints: after the constant part of the requests, and after the last message, which the next
    request repeats."""
    if isinstance(system := body.get("system"), str):
        body["system"] = [{"type": "text", "text": system, "cache_control": control}]
    elif tools := body.get("tools"):
        body["tools"] = [*tools[:-1], {**tools[-1], "cache_control": control}]
    if messages := body["messages"]:
        content = messages[-1]["content"]
        content[-1] = {**content[-1], "cache_control": control}


def _characters(value: Any) -> int:
    """Of all text; pictures count by their tokens, which are few."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return 6_000 if value.get("type") == "base64" else sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def _alternating(made: Prepared) -> list[dict[str, Any]]:
    """Tool results belong to the user's role here: in one message with the user's next text, before it."""
    messages: list[dict[str, Any]] = []
    for message in made.messages:
        role = "assistant" if message.role == "assistant" else "user"
        content = [*_thinking(message), *map(_part, message.parts)]
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})
    return messages


def _thinking(message: ModelMessage) -> list[Any]:
    """The model's reasoning before its tool calls, with the required signatures."""
    return list(list_of(message.provider.data.get("thinking"))) if message.provider is not None else []


def _part(part: object) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case DocumentPart():
            return {"type": "text", "text": as_text(part)}
        case ImagePart():
            source = {"type": "base64", "media_type": part.mime_type, "data": base64.b64encode(part.data).decode()}
            return {"type": "image", "source": source}
        case ImageAddress():
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        case ToolCallPart():
            return {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": _input(part.arguments)}
        case ToolResultPart():
            return {"type": "tool_result", "tool_use_id": _id(part.id), "content": part.result, "is_error": part.failed}
        case _:
            raise AssertionError(f"a message holds no {type(part).__name__}")


def _id(id_: str) -> str:
    """A valid id: compatible servers use ids that Anthropic forbids; only equality within a request matters."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id_)


def _input(arguments: str) -> Any:
    """The arguments as an object: this wire takes nothing else."""
    return arguments_in(arguments) or {}
