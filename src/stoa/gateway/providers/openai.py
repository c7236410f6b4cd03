"""OpenAI's chat-completions wire: OpenAI, Azure, Gemini, Mistral, Groq, DeepSeek, OpenRouter, Ollama, vLLM, llama.cpp
and many more."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import orjson

from stoa.gateway.providers.concessions import Concessions
from stoa.gateway.providers.demands import Demands, demands_of
from stoa.gateway.providers.documents import as_text
from stoa.gateway.providers.history import Prepared
from stoa.gateway.providers.openai_reading import OpenAIReading
from stoa.gateway.providers.reading import Reading
from stoa.gateway.providers.schemas import strict
from stoa.gateway.providers.streaming import StreamingModel, endpoint
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
    ToolSpec,
)

NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""What Gemini takes for a call that it did not make itself."""
_COMPLETION_TOKENS: Final = re.compile(r"^(?:o\d|gpt-5)", re.IGNORECASE)


class OpenAIModel(StreamingModel):
    path = "/chat/completions"
    wire = "openai"

    def default_demands(self, base_url: str) -> Demands:
        return demands_of(base_url)

    @property
    def counts_when_asked(self) -> bool:
        """Whether the usage of a stream must be asked for."""
        return self._demands.stream_options

    @property
    def granted(self) -> Concessions:
        """What its provider has refused so far."""
        return self._granted

    def grant(self, granted: Concessions) -> None:
        """For later requests too."""
        self._granted = granted.lasting()

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}

    def limit_name(self, granted: Concessions) -> str:
        if granted.limit_name is not None:
            return granted.limit_name
        name = self._wire_name.rpartition("/")[2]
        return (
            "max_completion_tokens"
            if self._demands.completion_tokens or _COMPLETION_TOKENS.match(name)
            else "max_tokens"
        )

    def body(self, request: ModelRequest, made: Prepared, granted: Concessions) -> Mapping[str, Any]:
        body: dict[str, Any] = {**request.extra, "model": self._wire_name, "stream": True}
        instructions = [made.instructions] if made.instructions else []
        instructions += self._output_schema(request, granted, body)
        body["messages"] = self._messages(made, "\n\n".join(instructions), granted)
        if self._demands.stream_options and granted.stream_options:
            body["stream_options"] = {"include_usage": True}
        if made.tools:
            body["tools"] = [{"type": "function", "function": self._function(tool)} for tool in made.tools]
            if not made.tools_offered:
                body["tool_choice"] = "none"
        limits = [limit for limit in (request.output_tokens_max, granted.output_tokens_max) if limit is not None]
        if limits:
            body[self.limit_name(granted)] = min(limits)
        return body

    def _function(self, tool: ToolSpec) -> dict[str, Any]:
        made: dict[str, Any] = {"name": tool.name, "description": tool.description}
        if tool.parameters["properties"] or not self._demands.plain_schemas:  # Gemini refuses an object of nothing.
            made["parameters"] = tool.parameters
        return made

    def _output_schema(self, request: ModelRequest, granted: Concessions, body: dict[str, Any]) -> list[str]:
        """Asks for structured output as the provider takes it, and gives what has to be said in words."""
        schema = request.output_schema
        if schema is None:
            return []
        as_field = granted.output_schema and granted.this_schema and schema.get("type") == "object"
        if self._demands.structured_output == "json_schema" and as_field:
            made = strict(schema) if granted.strict_schema else None
            held = {"name": "output", "schema": schema if made is None else made, "strict": made is not None}
            body["response_format"] = {"type": "json_schema", "json_schema": held}
            return []
        if self._demands.structured_output == "json_object" and as_field:
            body["response_format"] = {"type": "json_object"}
        return [f"Answer with JSON that satisfies this schema, and with nothing else: {orjson.dumps(schema).decode()}"]

    def _messages(self, made: Prepared, instructions: str, granted: Concessions) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
        for message in made.messages:
            match message.role:
                case "tool":
                    messages += _results(message, named=self._demands.named_results or granted.named_results)
                case "assistant":
                    messages.append(_assistant(message, granted, signatures=self._demands.signatures))
                case "user":
                    messages.append({"role": "user", "content": _content(message)})
        if instructions and not granted.system_role and len(messages) > 1:  # The first user's message says it then.
            content = messages.pop(0)["content"]
            first = messages[0]
            if isinstance(first["content"], str):
                first["content"] = f"{content}\n\n{first['content']}"
            else:
                first["content"] = [{"type": "text", "text": content}, *first["content"]]
        return messages

    def reading(self, names: Names) -> Reading:
        return OpenAIReading(self.clean, names, self._source)


class AzureModel(OpenAIModel):
    """Azure OpenAI: another header for the key, and, below `?api-version=…`, a path for each deployment."""

    wire = "azure"

    def __init__(
        self, transport: Any, base_url: str, api_key: str | None, wire_name: str, *args: Any, **options: Any
    ) -> None:
        super().__init__(transport, azure_base(base_url, wire_name), api_key, wire_name, *args, **options)

    def headers(self) -> Mapping[str, str]:
        return {"api-key": self._api_key} if self._api_key else {}


def azure_base(base_url: str, deployment: str) -> str:
    """Where a deployment answers: the address of a resource alone means its `v1` API; with an `api-version`, the
    deployment's own path."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if "/deployments/" in path:
        return parts._replace(path=path).geturl()
    if "api-version" in parse_qs(parts.query) and not path.endswith("/v1"):
        root = path if path.endswith("/openai") else f"{path}/openai"
        return endpoint(parts._replace(path=root).geturl(), f"/deployments/{quote(deployment, safe='')}")
    return parts._replace(path=path or "/openai/v1").geturl()


def _results(message: ModelMessage, *, named: bool) -> list[dict[str, Any]]:
    """Each result is a message of its own on this wire."""
    return [
        {"role": "tool", "tool_call_id": part.id, "content": part.result, **({"name": part.name} if named else {})}
        for part in message.parts
        if isinstance(part, ToolResultPart)
    ]


def _assistant(message: ModelMessage, granted: Concessions, *, signatures: bool) -> dict[str, Any]:
    if len(message.parts) == 1 and isinstance(only := message.parts[0], TextPart) and not granted.thoughts_always:
        return {"role": "assistant", "content": only.text or None}
    text = "\n\n".join(part.text for part in message.parts if isinstance(part, TextPart))
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCallPart)]
    made: dict[str, Any] = {"role": "assistant", "content": text or ("" if granted.empty_content else None)}
    if calls:
        made["tool_calls"] = calls
        data = message.provider.data if message.provider is not None else {}
        made |= {
            name: data[name] for name in ("reasoning_content", "reasoning_details", "extra_content") if name in data
        }
        if (signatures or granted.placeholder_signatures) and not any("extra_content" in call for call in calls):
            calls[0]["extra_content"] = {
                "google": {"thought_signature": NO_SIGNATURE}
            }  # Of parallel calls the first is signed.
    if granted.thoughts_always:
        made.setdefault("reasoning_content", "")
    return made


def _call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function, **(part.extra or {})}


def _content(message: ModelMessage) -> str | list[dict[str, Any]]:
    """One string, which every server of this wire takes; a list of parts, which not all understand, only for
    pictures."""
    if len(message.parts) == 1 and isinstance(text := message.parts[0], TextPart):
        return text.text
    if not any(isinstance(part, ImagePart | ImageAddress) for part in message.parts):
        return "\n\n".join(_text(part) for part in message.parts)
    return [_part(part) for part in message.parts]


def _text(part: object) -> str:
    if isinstance(part, DocumentPart):
        return as_text(part)
    assert isinstance(part, TextPart), f"a user's message holds no {type(part).__name__}"
    return part.text


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        url = f"data:{part.mime_type};base64,{base64.b64encode(part.data).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}
    if isinstance(part, ImageAddress):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": _text(part)}
