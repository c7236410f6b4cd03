"""Our messages as Responses items, and lists of items. Pure."""

from collections.abc import Mapping, Sequence
from mimetypes import guess_type
from typing import Any, Literal
from uuid import UUID

from stoa.conversations import Message
from stoa.dialects.responses.names import call_id, item_id
from stoa.kernel.errors import BadRequest

LIMIT_MAX = 100


def input_items(message: Message) -> list[dict[str, Any]]:
    """A user's message, or one that a client has inserted, as items."""
    items = message.turns or [{"type": "message", "role": message.role.value, "content": message.content}]
    return [_item(item, message.id, number) for number, item in enumerate(items)]


def answer_items(message: Message) -> list[dict[str, Any]]:
    """The items of an answer whose run is deleted: its replies and calls."""
    made: list[dict[str, Any]] = []
    for turn in message.turns or [{"text": part["text"]} for part in message.content if part["type"] == "text"]:
        if turn.get("text"):
            part = {"type": "text", "text": turn["text"]}
            made.append({"type": "message", "role": "assistant", "content": [part]})
        for call in turn.get("calls", ()):
            made.append({"type": "call", **call})
            if "client" not in call:
                made.append({"type": "result", "id": call["id"], "text": call["result"]})
    return [_item(item, message.id, number) for number, item in enumerate(made)]


def _item(item: Mapping[str, Any], owner: UUID, number: int) -> dict[str, Any]:
    match item["type"]:
        case "call":
            kind = "function_call"
            more = {"call_id": call_id(item["id"]), "name": item["name"], "arguments": item["arguments"]}
        case "result":
            kind, more = "function_call_output", {"call_id": call_id(item["id"]), "output": item["text"]}
        case _:
            kind = "message"
            content = [_part(part, item["role"]) for part in item["content"]]
            more = {"role": item["role"], "content": content}
    return {"id": item_id(kind, owner, "i", number), "type": kind, "status": "completed", **more}


def _part(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    if part["type"] == "text" and role == "assistant":
        return {"type": "output_text", "text": part["text"], "annotations": [], "logprobs": []}
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    name = str(part["file"].get("name") or "")
    if (guess_type(name)[0] or "").startswith("image/"):
        return {"type": "input_image", "file_id": part["file"]["id"], "image_url": None, "detail": "auto"}
    return {"type": "input_file", "file_id": part["file"]["id"], "filename": name}


def listed(
    items: Sequence[Mapping[str, Any]], limit: int, order: Literal["asc", "desc"], after: str | None
) -> dict[str, Any]:
    """A page of items, which are given oldest first. Raises BadRequest for an unknown `after`."""
    chosen = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        places = [place for place, item in enumerate(chosen) if item["id"] == after]
        if not places:
            raise BadRequest.field("after", "is no item of this list")
        chosen = chosen[places[0] + 1 :]
    page = chosen[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(chosen) > limit,
    }
