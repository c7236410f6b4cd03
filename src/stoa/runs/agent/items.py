"""A message as items, for input that is more than one text of a user: earlier turns that the client stores itself, and
results of tools that it calls itself. Pure.

An item is one of

    {"type": "message", "role": "user" | "assistant" | "system", "content": [part, …]}
    {"type": "call", "id", "name", "arguments"}
    {"type": "result", "id", "text", "failed"?}

and a part `{"type": "text", "text"}` or `{"type": "file", "file": {"id", "name"}}`, as in a message's content.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from stoa.gateway import ModelMessage, Part, TextPart, ToolCallPart, ToolResultPart

Item = Mapping[str, Any]


def messages_of(items: Sequence[Item], shown: Mapping[UUID, Part], names: Mapping[str, str]) -> list[ModelMessage]:
    """The items as a model reads them, without system messages. `names` are the tools of earlier calls, by id."""
    names = {**names, **{item["id"]: item["name"] for item in items if item["type"] == "call"}}
    out: list[ModelMessage] = []
    for item in items:
        match item["type"]:
            case "call":
                role, parts = "assistant", [ToolCallPart(item["id"], item["name"], item["arguments"])]
            case "result":
                result = ToolResultPart(
                    item["id"], names.get(item["id"], "tool"), item["text"], failed=bool(item.get("failed"))
                )
                role, parts = "tool", [result]
            case _:
                role, parts = item["role"], [_part(part, shown) for part in item["content"]]
        if role == "system" or not parts:
            continue
        if (
            out and out[-1].role == role and role != "user"
        ):  # A reply with its calls is one message, and so are results.
            out[-1] = ModelMessage(role, (*out[-1].parts, *parts))
        else:
            out.append(ModelMessage(role, tuple(parts)))
    return out


def _part(part: Mapping[str, Any], shown: Mapping[UUID, Part]) -> Part:
    return TextPart(part["text"]) if part["type"] == "text" else shown[UUID(part["file"]["id"])]


def instructions_of(items: Iterable[Item]) -> list[str]:
    """The text of the system messages."""
    return [
        part["text"]
        for item in items
        if item["type"] == "message" and item["role"] == "system"
        for part in item["content"]
        if part["type"] == "text"
    ]


def content_of(items: Iterable[Item]) -> list[dict[str, Any]]:
    """The message's content for people and for search: the user's texts and files, or else the results."""
    items = list(items)
    said = [
        dict(part) for item in items if item["type"] == "message" and item["role"] == "user" for part in item["content"]
    ]
    others = [
        dict(part) for item in items if item["type"] == "message" and item["role"] != "user" for part in item["content"]
    ]
    files = [part for part in others if part["type"] == "file"]
    if any(part["type"] == "text" and part["text"].strip() for part in said) or said:
        return [*said, *files]
    results = [{"type": "text", "text": item["text"]} for item in items if item["type"] == "result" and item["text"]]
    return [*results, *files] or [part for part in others if part["type"] == "text"]


def without_calls(messages: Iterable[ModelMessage]) -> list[ModelMessage]:
    """For a model that does not support tools."""
    kept: list[ModelMessage] = []
    for message in messages:
        parts = tuple(part for part in message.parts if not isinstance(part, ToolCallPart | ToolResultPart))
        if parts:
            kept.append(ModelMessage(message.role, parts))
    return kept


def characters(items: Iterable[Item]) -> int:
    """Of all text in them."""
    return sum(
        len(item.get("text", ""))
        + len(item.get("arguments", ""))
        + sum(len(part.get("text", "")) for part in item.get("content", ()))
        for item in items
    )
