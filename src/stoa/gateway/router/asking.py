"""OpenAI's chat request as a ModelRequest, for providers of another wire. Pure.

What such a provider has no word for is refused where leaving it out would change the answer's form (`n`, audio), and
named otherwise (`ignored`).
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoa.gateway.providers.fields import list_of, object_of, text_of
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.types import (
    ImagePart,
    Model,
    ModelMessage,
    ModelRequest,
    Part,
    ProviderData,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)
from stoa.kernel.errors import BadRequest

TRANSLATED: Final = frozenset({
    "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "response_format", "reasoning_effort", "thinking",
    "user", "n", "functions", "function_call",
})  # fmt: skip # a table
NEUTRAL: Final = frozenset({"store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"})
"""Of no consequence for the answer."""
THINKING_TOKENS: Final[Mapping[str, int]] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 24_576,
}
"""What a `reasoning_effort` lets a model think that is told a number."""
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?(;base64)?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """`ignored` are the fields that the provider is not told of."""

    request: ModelRequest
    ignored: Sequence[str]


def asked(fields: Mapping[str, Any], source: str) -> Asked:
    """`source` is the provider's: thoughts that came from it go back to it. Raises BadRequest naming the field."""
    if fields.get("n") not in (None, 1):
        raise BadRequest.field("n", "must be 1 for this model: its provider gives one answer to a request")
    if fields.get("functions"):
        raise BadRequest.field("functions", "is not taken for this model; send the same as tools")
    instructions: list[str] = []
    messages: list[ModelMessage] = []
    names: dict[str, str] = {}
    for index, message in enumerate(fields["messages"]):
        where = f"messages[{index}]"
        match message["role"]:
            case "system" | "developer":
                instructions.append(_text(message.get("content"), where))
            case "user":
                messages.append(ModelMessage("user", tuple(_parts(message.get("content"), where))))
            case "assistant":
                messages.append(_assistant(message, where, names, source))
            case "tool" | "function":
                messages.append(ModelMessage("tool", (_result(message, where, names),)))
            case role:
                reason = f"must be system, developer, user, assistant or tool, not {role[:50]!r}"
                raise BadRequest.field(f"{where}.role", reason)
    request = ModelRequest(
        messages,
        "\n\n".join(filter(None, instructions)) or None,
        _tools(fields),
        _schema(fields.get("response_format")),
        _limit(fields),
        _extra(fields, source),
        once=True,
    )
    return Asked(request, sorted(name for name in fields if name not in TRANSLATED and name not in NEUTRAL))


# --- messages -------------------------------------------------------------------------------------------------------
def _parts(content: Any, where: str) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    if not isinstance(content, list):
        raise BadRequest.field(f"{where}.content", "must be a string or a list of parts")
    out: list[Part] = []
    for index, part in enumerate(content):
        held, at = object_of(part), f"{where}.content[{index}]"
        match held.get("type"):
            case "text" | "input_text":
                out.append(TextPart(text_of(held.get("text"))))
            case "refusal":
                out.append(TextPart(text_of(held.get("refusal"))))
            case "image_url":
                url = held.get("image_url")
                out.append(_picture(text_of(object_of(url).get("url") if isinstance(url, dict) else url), at))
            case kind:
                raise BadRequest.field(
                    f"{at}.type", f"{str(kind)[:50]!r} is not taken for this model; send text or image_url"
                )
    return out


def _text(content: Any, where: str) -> str:
    """Content that can only be text."""
    if content is None:
        return ""
    parts = _parts(content, where)
    if any(not isinstance(part, TextPart) for part in parts):
        raise BadRequest.field(f"{where}.content", "can hold only text here")
    return "\n\n".join(part.text for part in parts if isinstance(part, TextPart))


def _picture(url: str, where: str) -> ImagePart:
    begin = _DATA_URL.match(url)
    if begin is None or not begin[2]:
        reason = (
            "must be a data URL (data:image/png;base64,…) for this model: the server fetches nothing for its callers"
        )
        raise BadRequest.field(f"{where}.image_url.url", reason)
    try:
        data = base64.b64decode(url[begin.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest.field(f"{where}.image_url.url", "holds no valid base64") from error
    return ImagePart("picture", begin[1] or "image/png", data)


def _assistant(message: Mapping[str, Any], where: str, names: dict[str, str], source: str) -> ModelMessage:
    parts: list[Part] = []
    if text := _text(message.get("content"), where) or text_of(message.get("refusal")):
        parts.append(TextPart(text))
    calls: list[dict[str, str]] = []
    for index, call in enumerate(list_of(message.get("tool_calls"))):
        function = object_of(object_of(call).get("function"))
        name = text_of(function.get("name"))
        if not name:
            raise BadRequest.field(f"{where}.tool_calls[{index}].function.name", "is required")
        call_id = text_of(object_of(call).get("id")) or f"call_{index}"
        names[call_id] = name
        calls.append({"id": call_id})
        parts.append(ToolCallPart(call_id, name, text_of(function.get("arguments")) or "{}"))
    blocks = [block for block in list_of(message.get("thinking_blocks")) if isinstance(block, dict)]
    own = ProviderData(source, {"calls": calls, "thinking": blocks}) if blocks and calls else None
    return ModelMessage("assistant", tuple(parts), own)


def _result(message: Mapping[str, Any], where: str, names: Mapping[str, str]) -> ToolResultPart:
    call_id = text_of(message.get("tool_call_id")) or text_of(message.get("name"))
    if not call_id:
        raise BadRequest.field(f"{where}.tool_call_id", "is required")
    name = names.get(call_id) or text_of(message.get("name")) or "tool"
    return ToolResultPart(call_id, name, _text(message.get("content"), where))


# --- the rest -------------------------------------------------------------------------------------------------------
def _tools(fields: Mapping[str, Any]) -> list[ToolSpec]:
    if fields.get("tool_choice") == "none":
        return []
    out: list[ToolSpec] = []
    for index, tool in enumerate(list_of(fields.get("tools"))):
        function = object_of(object_of(tool).get("function"))
        name = text_of(function.get("name"))
        if object_of(tool).get("type") != "function" or not name:
            raise BadRequest.field(f"tools[{index}]", "must be a function with a name for this model")
        schema = function.get("parameters")
        parameters = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
        out.append(ToolSpec(name, text_of(function.get("description")), parameters))
    return out


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    match object_of(wanted).get("type"):
        case None | "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema" if isinstance(schema := object_of(object_of(wanted).get("json_schema")).get("schema"), dict):
            return schema
        case _:
            raise BadRequest.field("response_format", "must be text, json_object, or json_schema with a schema")


def _limit(fields: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = fields.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadRequest.field(name, "must be a whole number of at least 1")
            return value
    return None


def extra_of(model: Model, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's fields of how to answer, as this model's provider takes them."""
    if isinstance(model, OpenAIModel):
        return dict(fields)
    return _extra({"tools": True, **fields}, model.source) if isinstance(model, StreamingModel) else {}


def _extra(fields: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """In the words of Anthropic's wire; a model that takes no such words is given none."""
    if not source.startswith("anthropic"):
        return {}
    extra: dict[str, Any] = {name: fields[name] for name in ("top_p", "top_k") if fields.get(name) is not None}
    if isinstance(temperature := fields.get("temperature"), int | float):
        extra["temperature"] = min(temperature, 1.0)  # OpenAI's goes to 2.
    if stop := [text for text in list_of(fields.get("stop")) if isinstance(text, str) and text.strip()]:
        extra["stop_sequences"] = stop
    if isinstance(user := fields.get("user"), str) and user:
        extra["metadata"] = {"user_id": user}
    if (choice := _tool_choice(fields)) is not None:
        extra["tool_choice"] = choice
    if isinstance(thinking := fields.get("thinking"), dict):
        extra["thinking"] = thinking
    elif (budget := THINKING_TOKENS.get(text_of(fields.get("reasoning_effort")))) is not None:
        extra["thinking"] = {"type": "enabled", "budget_tokens": _within(budget, _limit(fields))}
    if object_of(extra.get("thinking")).get("type") == "enabled":
        for name in ("temperature", "top_k"):  # What thinks takes neither.
            extra.pop(name, None)
    return extra


def _within(budget: int, limit: int | None) -> int:
    """A model that thinks must be left room for its answer; it takes no budget below 1,024."""
    return budget if limit is None else max(min(budget, limit // 2), 1_024)


def _tool_choice(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    if not fields.get("tools") or fields.get("tool_choice") == "none":
        return None
    choice = fields.get("tool_choice")
    made: dict[str, Any] | None = None
    if choice == "required":
        made = {"type": "any"}
    elif isinstance(choice, dict):
        made = {"type": "tool", "name": text_of(object_of(choice.get("function")).get("name"))}
    if fields.get("parallel_tool_calls") is False:
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made
