"""Parses the body that `useChat` sends. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from stoa.dialects.fields import objects
from stoa.dialects.threads import Turn
from stoa.kernel.errors import BadRequest

DIALECT: Final = "ui_messages"


def turn_of(agent: str, fields: Mapping[str, Any]) -> Turn:
    """Raises BadRequest naming the field."""
    thread, messages = fields.get("id"), fields.get("messages")
    if not isinstance(thread, str) or not thread:
        raise BadRequest.field("id", "is required: the id of the chat")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise BadRequest.field("messages", "must be a list of at least one message")
    last = messages[-1]
    history = [item for message in messages for item in _items(message)]
    if last.get("role") == "assistant":  # It contains the results of the client's own tools.
        tail = [item for item in _items(last) if item["type"] == "function_call_output"]
    else:
        after = max((place + 1 for place, one in enumerate(messages) if one.get("role") == "assistant"), default=0)
        tail = [item for message in messages[after:] for item in _items(message)]
    tools = fields.get("tools")
    return Turn(
        agent,
        thread,
        history,
        tail,
        DIALECT,
        [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else (),
        message_id=str(last["id"]) if last.get("role") == "user" and last.get("id") else None,
        regenerate=fields.get("trigger") == "regenerate-message",
    )


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Converts a message to Responses items."""
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise BadRequest.field("messages", f"hold a message of the role {str(role)[:40]!r}")
    items: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for part in objects(message.get("parts") or None, "messages.parts"):
        kind = str(part.get("type"))
        if kind == "text" and part.get("text"):
            parts.append({"type": "input_text", "text": part["text"]})
        elif kind == "file" and role == "user":
            parts.append(_file(part))
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            if parts:
                items.append({"type": "message", "role": role, "content": parts})
                parts = []
            items += _call(part, kind)
    return [*items, {"type": "message", "role": role, "content": parts}] if parts else items


def _file(part: Mapping[str, Any]) -> dict[str, Any]:
    if str(part.get("mediaType")).startswith("image/"):
        return {"type": "input_image", "image_url": part.get("url")}
    return {"type": "input_file", "file_data": part.get("url"), "filename": part.get("filename")}


def _call(part: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """A call with its result; a call without one is unfinished."""
    state, call_id = part.get("state"), part.get("toolCallId")
    if state not in ("output-available", "output-error"):
        return []
    name = part.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
    output = part.get("output") if state == "output-available" else part.get("errorText")
    text = output if isinstance(output, str) else orjson.dumps(output).decode()
    arguments = orjson.dumps(part.get("input") or {}).decode()
    return [
        {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": text},
    ]
