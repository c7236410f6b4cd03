"""Parses AG-UI's `RunAgentInput`. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoa.dialects.fields import objects
from stoa.dialects.threads import Turn
from stoa.kernel.errors import BadRequest

DIALECT: Final = "agui"
_SAID: Final = frozenset({"user", "assistant", "system", "developer"})


def turn_of(agent: str, fields: Mapping[str, Any]) -> tuple[Turn, str]:
    """The turn, and the client's id for the run. Raises BadRequest naming the field."""
    thread, run_id = fields.get("threadId"), fields.get("runId")
    if not isinstance(thread, str) or not thread:
        raise BadRequest.field("threadId", "is required: a string")
    if not isinstance(run_id, str) or not run_id or len(run_id) > 200:
        raise BadRequest.field("runId", "is required: a string of at most 200 characters")
    messages = objects(fields.get("messages") or None, "messages")
    after = max((place + 1 for place, one in enumerate(messages) if one.get("role") == "assistant"), default=0)
    last = messages[-1] if messages else {}
    turn = Turn(
        agent,
        thread,
        [item for message in messages for item in _items(message)],
        [item for message in messages[after:] for item in _items(message)],
        DIALECT,
        [_tool(tool) for tool in objects(fields.get("tools") or None, "tools")],
        _context(objects(fields.get("context") or None, "context")),
        str(last["id"]) if last.get("role") == "user" and last.get("id") else None,
        more={"thread": thread, "run": run_id},
    )
    return turn, run_id


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Converts a message to Responses items."""
    role = message.get("role")
    if role == "tool":
        output = message.get("content")
        return [{"type": "function_call_output", "call_id": message.get("toolCallId"), "output": output}]
    if not isinstance(role, str) or role not in _SAID:
        return []  # Reasoning and activities are of no use to the model.
    items: list[dict[str, Any]] = []
    content = message.get("content")
    if content:
        parts = [_part(part) for part in content] if isinstance(content, list) else content
        items.append({"type": "message", "role": role, "content": parts})
    for call in objects(message.get("toolCalls") or None, "messages.toolCalls"):
        function = call.get("function")
        if isinstance(function, dict):
            items.append(
                {
                    "type": "function_call",
                    "call_id": call.get("id"),
                    "name": function.get("name"),
                    "arguments": function.get("arguments"),
                }
            )
    return items


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": part.get("text")}
        case "binary" | "image" | "document" | "file":
            source = part.get("source") if isinstance(part.get("source"), dict) else part
            assert source is not None
            mime_type = str(source.get("mimeType") or "application/octet-stream")
            data = source.get("data") or source.get("value")
            url = source.get("url") or f"data:{mime_type};base64,{data}"
            if mime_type.startswith("image/") or part.get("type") == "image":
                return {"type": "input_image", "image_url": url}
            return {"type": "input_file", "file_data": url, "filename": part.get("filename")}
        case _:
            return part


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tool.get(name) for name in ("name", "description", "parameters")}


def _context(context: Sequence[Mapping[str, Any]]) -> str | None:
    lines = [f"{one.get('description') or 'Context'}: {one.get('value')}" for one in context if one.get("value")]
    return "What the application says of its state:\n" + "\n".join(lines) if lines else None
