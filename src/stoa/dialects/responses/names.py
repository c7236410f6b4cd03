"""Ids of this dialect, and ours. Pure.

A response is a run and a conversation a conversation: their ids are ours under a prefix. An item's id says which run
or message it belongs to and where it stands there, so that it needs no table and is the same at each reading.
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
    """Of an input item (`i`) the message that holds it, of an output item (`o`) the run that made it."""

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
    """None for an id that is not ours."""
    found = _ITEM.fullmatch(item)
    return ItemPlace(UUID(found[1]), "i" if found[2] == "i" else "o", int(found[3], 16)) if found else None


def our_id(given: str) -> UUID | None:
    """Of a response or a conversation, with its prefix or as our own routes show it; None where it cannot be one."""
    hexed = given.rpartition("_")[2].replace("-", "").lower()
    return UUID(hexed) if _HEX.fullmatch(hexed) else None


def call_id(call: str) -> str:
    """Of a tool call, as clients see it."""
    return f"call_{call.replace('-', '')}"


def our_call(given: str) -> str:
    """The same back; an id that a client has made itself stays as it is."""
    hexed = given.removeprefix("call_")
    return str(UUID(hexed)) if given.startswith("call_") and _HEX.fullmatch(hexed) else given
