"""Translates OpenAI's chat request to a ModelRequest, for providers with another API. Pure.

A field that such a provider does not have is refused if leaving it out would change the form of the answer (`n`,
audio). Otherwise it is left out and named in `ignored`.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.fields import list_of, object_of, text_of
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.router.sampling import anthropic_extra, left_out, limit_of
from stoa.gateway.types import (
    ImageAddress,
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
    "user", "n", "functions", "function_call", "cache_control",
})  # fmt: skip # a table
NEUTRAL: Final = frozenset({"store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"})
"""Fields that do not affect the answer."""
_ADDRESS: Final = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?(;base64)?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """`ignored` are the fields that are not sent to the provider."""

    request: ModelRequest
    ignored: Sequence[str]


def asked(fields: Mapping[str, Any], model: Model) -> Asked:
    """The request for the model's provider. The provider's own reasoning is sent back to it. Raises BadRequest naming
    the field."""
    source = model.source if isinstance(model, StreamingModel) else ""
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
    extra: Mapping[str, Any] = {}
    if isinstance(model, AnthropicModel):
        extra = {**anthropic_extra(fields, model.wire_name, messages), **_cached(fields)}
    request = ModelRequest(
        messages,
        "\n\n".join(filter(None, instructions)) or None,
        _tools(fields),
        _schema(fields.get("response_format")),
        limit_of(fields),
        extra,
        once=True,
    )
    unknown = [name for name in fields if name not in TRANSLATED and name not in NEUTRAL]
    return Asked(request, sorted({*unknown, *left_out(fields, extra)}))


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
            case "image_url" | "input_image":
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


def _picture(url: str, where: str) -> ImagePart | ImageAddress:
    """A URL is passed on: the provider fetches it, and this server fetches nothing for its callers."""
    if _ADDRESS.match(url):
        return ImageAddress(url)
    begin = _DATA_URL.match(url)
    if begin is None or not begin[2]:
        raise BadRequest.field(f"{where}.image_url.url", "must be a data URL (data:image/png;base64,…) or an address")
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
    return ToolResultPart(call_id, name, _text(message.get("content"), where), failed=message.get("is_error") is True)


def _cached(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The first `cache_control` of the request, its parts and its tools, for the provider's prompt cache."""
    parts = [part for message in fields["messages"] for part in list_of(message.get("content"))]
    marked = (object_of(one).get("cache_control") for one in (fields, *parts, *list_of(fields.get("tools"))))
    control = next((one for one in marked if isinstance(one, dict)), None)
    return {"cache_control": control} if control is not None else {}


# --- the rest -------------------------------------------------------------------------------------------------------
def _tools(fields: Mapping[str, Any]) -> list[ToolSpec]:
    if fields.get("tool_choice") == "none":
        return []
    out: list[ToolSpec] = []
    allowed = _allowed(object_of(fields.get("tool_choice")))
    for index, tool in enumerate(list_of(fields.get("tools"))):
        function = object_of(object_of(tool).get("function"))
        name = text_of(function.get("name"))
        if object_of(tool).get("type") != "function" or not name:
            raise BadRequest.field(f"tools[{index}]", "must be a function with a name for this model")
        if allowed is not None and name not in allowed:
            continue
        schema = function.get("parameters")
        parameters = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
        out.append(ToolSpec(name, text_of(function.get("description")), parameters))
    return out


def _allowed(choice: Mapping[str, Any]) -> set[str] | None:
    """The tools that `tool_choice` allows; None if it does not name any."""
    if choice.get("type") != "allowed_tools":
        return None
    named = list_of(object_of(choice.get("allowed_tools")).get("tools"))
    return {text_of(object_of(object_of(one).get("function")).get("name")) for one in named}


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
