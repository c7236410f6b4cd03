"""OpenAI's chat-completions wire: OpenAI, Ollama, vLLM, llama.cpp, OpenRouter and many more."""

import base64
from collections.abc import Mapping
from typing import Any

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

_REASONS: Mapping[str, Finish] = {
    "stop": Finish("stop"),
    "length": Finish("length"),
    "tool_calls": Finish("tool_calls"),
    "function_call": Finish("tool_calls"),
    "content_filter": Finish("content_filter"),
}


class OpenAIModel(StreamingModel):
    path = "/chat/completions"

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}

    def body(self, request: ModelRequest) -> Mapping[str, Any]:
        messages: list[dict[str, Any]] = (
            [{"role": "system", "content": request.instructions}] if request.instructions else []
        )
        for message in request.messages:
            messages += _messages(message)
        body: dict[str, Any] = {
            **request.extra,
            "model": self._wire_name,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in request.tools
            ]
        if request.output_schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "output", "schema": request.output_schema, "strict": True},
            }
        if request.output_tokens_max is not None:
            body["max_tokens"] = request.output_tokens_max
        return body

    def reading(self) -> Reading:
        return _OpenAIReading(self)


class _OpenAIReading(Reading):
    def __init__(self, model: OpenAIModel) -> None:
        self._model = model

    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        if "error" in event:
            error = event["error"]
            said = error.get("message", "") if isinstance(error, dict) else str(error)
            raise ModelError(
                "model_error", f"The provider broke the answer off: {self._model.clean(str(said))}", retryable=True
            )
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                out.append(TextDelta(text))
            if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                out.append(ReasoningDelta(thought))
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                out.append(
                    ToolCallDelta(
                        call.get("index", 0), function.get("arguments") or "", call.get("id"), function.get("name")
                    )
                )
            if reason := choice.get("finish_reason"):
                self.finish = _REASONS.get(reason, Finish("stop"))
        if usage := event.get("usage"):
            out.append(_usage(usage))


def _usage(usage: Mapping[str, Any]) -> Usage:
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return Usage(
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        int(prompt.get("cached_tokens") or 0),
        int(completion.get("reasoning_tokens") or 0),
    )


def _messages(message: ModelMessage) -> list[dict[str, Any]]:
    """One of ours may be several of theirs: each tool result is a message of its own."""
    if message.role == "tool":
        return [
            {"role": "tool", "tool_call_id": part.id, "content": part.result}
            for part in message.parts
            if isinstance(part, ToolResultPart)
        ]
    if message.role == "assistant":
        text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        calls = [
            {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
            for part in message.parts
            if isinstance(part, ToolCallPart)
        ]
        return [{"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}]
    # One string, which every server of this wire takes; lists of parts are not understood everywhere.
    texts = [
        part.text if isinstance(part, TextPart) else as_text(part)
        for part in message.parts
        if isinstance(part, (TextPart, DocumentPart))
    ]
    if len(texts) == len(message.parts):
        return [{"role": "user", "content": "\n\n".join(texts)}]
    return [{"role": "user", "content": [_part(part) for part in message.parts]}]


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {
            "type": "image_url",
            "image_url": {"url": f"data:{part.mime_type};base64,{base64.b64encode(part.data).decode()}"},
        }
    if isinstance(part, DocumentPart):
        return {"type": "text", "text": as_text(part)}
    assert isinstance(part, TextPart), f"a user's message holds no {type(part).__name__}"
    return {"type": "text", "text": part.text}
