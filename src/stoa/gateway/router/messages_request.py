"""Translates Anthropic's messages request to OpenAI's chat fields, for providers with another API. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stoa.gateway.providers.fields import list_of, object_of, text_of
from stoa.kernel.errors import BadRequest

EFFORTS: Final[Sequence[tuple[int, str]]] = ((2_048, "low"), (8_192, "medium"))
"""Maps a thinking budget to a reasoning effort: (maximum tokens, effort); a larger budget is `high`."""
TOLD: Final = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "stop_sequences", "tools",
    "tool_choice", "thinking", "output_config", "output_format", "metadata", "cache_control", "service_tier",
})  # fmt: skip # a table
"""Fields that are translated, and fields that do not affect the answer."""
SHOWN_BELOW: Final = "(The result is a picture, which follows.)"


def check(fields: Mapping[str, Any], *, answered: bool = True) -> None:
    """Checks the fields that the gateway itself needs; without `answered`, those of a request that only counts tokens.
    Raises BadRequest naming the field."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest.field("messages", "must be a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise BadRequest.field(f"messages[{index}].role", "must be user or assistant")
    if not answered:
        return
    limit = fields.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest.field("max_tokens", "is required: a whole number of at least 1")
    if not isinstance(fields.get("stream", False), bool | None):
        raise BadRequest.field("stream", "must be true or false")


def chat_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Raises BadRequest naming what cannot be translated for another provider."""
    messages: list[dict[str, Any]] = []
    if system := _text(fields.get("system"), "system"):
        messages.append({"role": "system", "content": system})
    for index, message in enumerate(fields["messages"]):
        messages += _message(message, f"messages[{index}]")
    made: dict[str, Any] = {"messages": messages, "max_tokens": fields["max_tokens"]}
    for theirs, ours in (("temperature", "temperature"), ("top_p", "top_p"), ("stop_sequences", "stop")):
        if fields.get(theirs) is not None:
            made[ours] = fields[theirs]
    made |= _tools(fields)
    if (effort := _effort(fields)) is not None:
        made["reasoning_effort"] = effort
    if (form := object_of(_form(fields))).get("type") == "json_schema":
        made["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": form.get("schema")},
        }
    if user := text_of(object_of(fields.get("metadata")).get("user_id")):
        made["user"] = user
    return made


def sampling_of(chat: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling fields among `chat_fields`."""
    names = ("temperature", "top_p", "stop", "tool_choice", "parallel_tool_calls", "reasoning_effort")
    return {name: chat[name] for name in names if name in chat}


def ignored(fields: Mapping[str, Any]) -> list[str]:
    """The fields that are not sent to other providers."""
    return sorted(name for name in fields if name not in TOLD)


def _effort(fields: Mapping[str, Any]) -> str | None:
    """The reasoning effort, from a thinking budget or from this API's own effort field."""
    thinking = object_of(fields.get("thinking"))
    effort = object_of(fields.get("output_config")).get("effort")
    if thinking.get("type") == "adaptive":
        return {"max": "xhigh"}.get(effort, effort) if isinstance(effort, str) else "medium"
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    tokens = budget if isinstance(budget, int) else 0
    return next((effort for limit, effort in EFFORTS if tokens <= limit), "high")


def _form(fields: Mapping[str, Any]) -> Any:
    """The output format, if one of its two fields names one."""
    return object_of(fields.get("output_config")).get("format") or fields.get("output_format")


def _tools(fields: Mapping[str, Any]) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(list_of(fields.get("tools"))):
        held = object_of(tool)
        if held.get("type") not in (None, "custom") or not text_of(held.get("name")):
            raise BadRequest.field(
                f"tools[{index}]", "must be a tool with a name and an input_schema: this model's provider has no others"
            )
        function = {name: held[name] for name in ("name", "description") if name in held}
        schema = held.get("input_schema")
        tools.append({"type": "function", "function": {**function, "parameters": schema or {"type": "object"}}})
    if not tools:
        return {}
    made: dict[str, Any] = {"tools": tools}
    choice = object_of(fields.get("tool_choice"))
    match choice.get("type"):
        case "any":
            made["tool_choice"] = "required"
        case "none":
            made["tool_choice"] = "none"
        case "tool":
            made["tool_choice"] = {"type": "function", "function": {"name": text_of(choice.get("name"))}}
        case _:
            pass
    if choice.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    return made


# --- messages -------------------------------------------------------------------------------------------------------
def _message(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    if not isinstance(content, list):
        raise BadRequest.field(f"{where}.content", "must be a string or a list of blocks")
    blocks = [(object_of(block), f"{where}.content[{index}]") for index, block in enumerate(content)]
    return _assistant(blocks) if message["role"] == "assistant" else _user(blocks)


def _user(blocks: Sequence[tuple[Mapping[str, Any], str]]) -> list[dict[str, Any]]:
    """Tool results become separate messages before the user's text."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for block, at in blocks:
        match block.get("type"):
            case "text":
                parts.append({"type": "text", "text": text_of(block.get("text"))})
            case "image":
                parts.append({"type": "image_url", "image_url": {"url": _picture(object_of(block.get("source")), at)}})
            case "tool_result":
                result, pictures = _result(block, at)
                results.append(result)
                shown += pictures
            case "document" if object_of(block.get("source")).get("type") == "text":
                parts.append({"type": "text", "text": text_of(object_of(block.get("source")).get("data"))})
            case kind:
                raise BadRequest.field(f"{at}.type", f"{str(kind)[:50]!r} is not taken for this model")
    said = [*shown, *parts]
    return [*results, *([{"role": "user", "content": said}] if said else [])]


def _result(block: Mapping[str, Any], at: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a call as a message, and its pictures: OpenAI's tool messages cannot hold pictures, so they go into
    a user message."""
    content = block.get("content")
    texts: list[Any] = []
    pictures: list[dict[str, Any]] = []
    for index, one in enumerate(content if isinstance(content, list) else ()):
        held = object_of(one)
        if held.get("type") == "image":
            url = _picture(object_of(held.get("source")), f"{at}.content[{index}]")
            pictures.append({"type": "image_url", "image_url": {"url": url}})
        else:
            texts.append(one)
    said = _text(texts if isinstance(content, list) else content, f"{at}.content")
    result = {
        "role": "tool",
        "tool_call_id": text_of(block.get("tool_use_id")),
        "content": said or (SHOWN_BELOW if pictures else ""),
        **({"is_error": True} if block.get("is_error") is True else {}),
    }
    return result, pictures


def _assistant(blocks: Sequence[tuple[Mapping[str, Any], str]]) -> list[dict[str, Any]]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, at in blocks:
        match block.get("type"):
            case "text":
                texts.append(text_of(block.get("text")))
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": text_of(block.get("name")), "arguments": arguments}
                calls.append({"id": text_of(block.get("id")), "type": "function", "function": function})
            case "thinking" | "redacted_thinking":
                pass  # Signed by its provider, and useless to another one.
            case kind:
                raise BadRequest.field(f"{at}.type", f"{str(kind)[:50]!r} is not taken for this model")
    made: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    return [{**made, "tool_calls": calls} if calls else made]


def _picture(source: Mapping[str, Any], at: str) -> str:
    if source.get("type") == "base64":
        return f"data:{text_of(source.get('media_type')) or 'image/png'};base64,{text_of(source.get('data'))}"
    if source.get("type") == "url":
        return text_of(source.get("url"))
    raise BadRequest.field(f"{at}.source", "must be base64 or url")


def _text(content: Any, at: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, block in enumerate(list_of(content)):
        held = object_of(block)
        if held.get("type") != "text":
            raise BadRequest.field(f"{at}[{index}].type", "must be text for this model")
        texts.append(text_of(held.get("text")))
    return "\n\n".join(texts)
