"""Converts between OpenAI's ids and ours. Pure.

A response is a run, and a conversation is a conversation: their ids are ours with a prefix. An item's id encodes its
run or message and its position there, so it needs no table and is the same at each read.
"""

import re
from typing import Final, Literal, NamedTuple
from uuid import UUID

PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "file_search_call": "fs",
    "mcp_call": "mcp",
    "mcp_approval_request": "mcpr",
}
_ITEM: Final = re.compile(r"[a-z]+_([0-9a-f]{32})([io])([0-9a-f]{4})")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


class ItemPlace(NamedTuple):
    """The position of an item: an input item (`i`) in its message, an output item (`o`) in its run."""

    owner: UUID
    side: Literal["i", "o"]
    number: int


def response_id(run_id: UUID) -> str:
    return f"resp_{run_id.hex}"


def conversation_id(conversation: UUID) -> str:
    return f"conv_{conversation.hex}"


def item_id(kind: str, owner: UUID, side: Literal["i", "o"], number: int) -> str:
    return f"{PREFIXES.get(kind, 'item')}_{owner.hex}{side}{number:04x}"


def place_of(item: str) -> ItemPlace | None:
    """None for an id that this server did not make."""
    found = _ITEM.fullmatch(item)
    return ItemPlace(UUID(found[1]), "i" if found[2] == "i" else "o", int(found[3], 16)) if found else None


def our_id(given: str) -> UUID | None:
    """The id of a response or conversation, with its prefix or as our own routes show it; None for an invalid one."""
    hexed = given.rpartition("_")[2].replace("-", "").lower()
    return UUID(hexed) if _HEX.fullmatch(hexed) else None


def call_id(call: str) -> str:
    """The id of a tool call, as clients see it."""
    return f"call_{call.replace('-', '')}"


def our_call(given: str) -> str:
    """The inverse of `call_id`; an id that a client made itself is returned unchanged."""
    hexed = given.removeprefix("call_")
    return str(UUID(hexed)) if given.startswith("call_") and _HEX.fullmatch(hexed) else given
