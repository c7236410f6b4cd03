"""Turns a request for a chat completion into a run. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from stoa.dialects.fields import objects
from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.responses.tools import read_tools
from stoa.kernel.errors import BadRequest

DIALECT: Final = "completion"
KEEP_SECONDS: Final = 3_600
"""How long after its end a stream can be resumed."""
READ: Final = frozenset({
    "model", "messages", "stream", "stream_options", "tools", "max_tokens", "max_completion_tokens", "response_format",
    "n", "user", "metadata", "store",
})  # fmt: skip # a table
"""Fields that become part of the run; every other field is sent to the provider unchanged."""


def read(fields: Mapping[str, Any]) -> Asked:
    """Raises BadRequest naming the field."""
    if fields.get("stream") is not True:
        raise BadRequest.field("stream", "must be true: Stoa-Resumable is for streams")
    if fields.get("n") not in (None, 1):
        raise BadRequest.field("n", "must be 1 with Stoa-Resumable")
    slug, messages = fields.get("model"), fields.get("messages")
    if not isinstance(slug, str) or not slug.strip():
        raise BadRequest.field("model", "is required")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise BadRequest.field("messages", "must be a list of at least one message")
    asked = Asked(slug, [], {}, {})
    read_input([item for message in messages for item in _items(message)], asked, "messages")
    functions = [
        one["function"] for one in objects(fields.get("tools"), "tools") if isinstance(one.get("function"), dict)
    ]
    read_tools({"tools": [{**function, "type": "function"} for function in functions]}, asked)
    limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
    form = fields.get("response_format")
    schema = _schema(form if isinstance(form, dict) else {})
    options = fields.get("stream_options")
    asked.wanted |= {
        "dialect": DIALECT,
        "store": False,
        "once": True,
        "keep_seconds": KEEP_SECONDS,
        "sampling": {name: value for name, value in fields.items() if name not in READ},
        "echo": {"model": slug, "usage": bool(isinstance(options, dict) and options.get("include_usage"))},
        **({"output_tokens_max": limit} if isinstance(limit, int) and limit > 0 else {}),
        **({"output_schema": schema} if schema is not None else {}),
    }
    user = fields.get("user")
    asked.user = user if isinstance(user, str) and user.strip() else None
    return asked


def _schema(form: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if form.get("type") == "json_object":
        return {"type": "object"}
    held = form.get("json_schema")
    schema = held.get("schema") if isinstance(held, dict) else None
    return schema if isinstance(schema, dict) else None


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Converts a message to Responses items."""
    if message.get("role") == "tool":
        call = message.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": call, "output": message.get("content")}]
    items: list[dict[str, Any]] = []
    content = message.get("content")
    if content:
        parts = [_part(part) for part in content] if isinstance(content, list) else content
        items.append({"type": "message", "role": message.get("role"), "content": parts})
    for call in objects(message.get("tool_calls"), "messages.tool_calls"):
        function = call.get("function")
        if isinstance(function, dict):
            about = {"name": function.get("name"), "arguments": function.get("arguments")}
            items.append({"type": "function_call", "call_id": call.get("id"), **about})
    return items


def _part(part: Any) -> Any:
    held = part if isinstance(part, dict) else {}
    match held.get("type"):
        case "text":
            return {"type": "input_text", "text": held.get("text")}
        case "image_url":
            return {"type": "input_image", "image_url": held.get("image_url")}
        case _:
            return part
