"""Anthropic's messages wire."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stoa.gateway.providers.documents import as_text
from stoa.gateway.providers.streaming import Reading, StreamingModel
from stoa.gateway.types import (
    Delta,
    DocumentPart,
    Finish,
    ImagePart,
    ModelError,
    ModelMessage,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

VERSION: Final = "2023-06-01"
OUTPUT_TOKENS_MAX: Final = 8_192
"""This wire wants a limit; every model of it allows this one."""

_REASONS: Mapping[str, Finish] = {
    "end_turn": Finish("stop"),
    "stop_sequence": Finish("stop"),
    "max_tokens": Finish("length"),
    "tool_use": Finish("tool_calls"),
    "refusal": Finish("content_filter"),
}


class AnthropicModel(StreamingModel):
    path = "/messages"

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": self._api_key} if self._api_key else {})}

    def body(self, request: ModelRequest) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            **request.extra,
            "model": self._wire_name,
            "max_tokens": request.output_tokens_max or OUTPUT_TOKENS_MAX,
            "stream": True,
            "messages": _alternating([_message(message) for message in request.messages]),
        }
        instructions = [request.instructions] if request.instructions else []
        if request.output_schema is not None:
            schema = orjson.dumps(request.output_schema).decode()
            instructions.append(
                f"Answer with one JSON object that satisfies this schema, and with nothing else: {schema}"
            )
        if instructions:
            body["system"] = "\n\n".join(instructions)
        if request.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in request.tools
            ]
        return body

    def reading(self) -> Reading:
        return _AnthropicReading(self)


class _AnthropicReading(Reading):
    """Usage comes in two halves: the prompt's with the message's start, the answer's with its end."""

    def __init__(self, model: AnthropicModel) -> None:
        self._model = model
        self._started: Mapping[str, Any] = {}

    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        match event["type"]:
            case "content_block_delta":
                self._delta(event["index"], event["delta"], out)
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                block = event["content_block"]
                out.append(ToolCallDelta(event["index"], "", block["id"], block["name"]))
            case "message_start":
                self._started = event["message"].get("usage") or {}
            case "message_delta":
                if reason := event["delta"].get("stop_reason"):
                    self.finish = _REASONS.get(reason, Finish("stop"))
                if event.get("usage"):
                    out.append(_usage({**self._started, **event["usage"]}))
            case "error":
                error = event["error"]
                code = "model_overloaded" if error.get("type") == "overloaded_error" else "model_error"
                raise ModelError(
                    code,
                    f"The provider broke the answer off: {self._model.clean(str(error.get('message', '')))}",
                    retryable=True,
                )
            case _:
                pass  # ping, content_block_stop, message_stop, and types yet to come.

    def _delta(self, index: int, delta: Mapping[str, Any], out: list[Delta]) -> None:
        match delta["type"]:
            case "text_delta":
                out.append(TextDelta(delta["text"]))
            case "thinking_delta":
                out.append(ReasoningDelta(delta["thinking"]))
            case "input_json_delta":
                out.append(ToolCallDelta(index, delta["partial_json"]))
            case _:
                pass  # Signatures and citations.


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Their input count leaves cached tokens out; ours holds every token of the prompt."""
    cached = int(usage.get("cache_read_input_tokens") or 0)
    written = int(usage.get("cache_creation_input_tokens") or 0)
    return Usage(int(usage.get("input_tokens") or 0) + cached + written, int(usage.get("output_tokens") or 0), cached)


def _message(message: ModelMessage) -> dict[str, Any]:
    role = "assistant" if message.role == "assistant" else "user"
    return {"role": role, "content": [_part(part) for part in message.parts]}


def _alternating(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours of one role become one message: a failed run leaves two questions in a row."""
    merged: list[dict[str, Any]] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {"role": message["role"], "content": [*merged[-1]["content"], *message["content"]]}
        else:
            merged.append(message)
    return merged


def _part(part: object) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case DocumentPart():
            return {"type": "text", "text": as_text(part)}
        case ImagePart():
            source = {"type": "base64", "media_type": part.mime_type, "data": base64.b64encode(part.data).decode()}
            return {"type": "image", "source": source}
        case ToolCallPart():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": orjson.loads(part.arguments or "{}")}
        case ToolResultPart():
            return {"type": "tool_result", "tool_use_id": part.id, "content": part.result, "is_error": part.failed}
        case _:
            raise AssertionError(f"a message holds no {type(part).__name__}")
