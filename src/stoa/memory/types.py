"""What agents keep of their end users: memories, whose items are messages, and memory stores, whose files are notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Memory:
    id: UUID
    project_id: UUID
    name: str
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose items of a memory are meant: those of a user that belong to `session_id`, or to no session.

    `of_sessions`: items of sessions count, of the one that is named or of all; `of_user`: items of no session count.
    """

    user_id: str
    session_id: str | None
    of_sessions: bool
    of_user: bool


@dataclass(frozen=True, slots=True)
class NewItem:
    """`data` is a message: `role`, `content` (a list of parts), and what belongs to tool calls."""

    user_id: str
    session_id: str | None
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    id: UUID
    memory_id: UUID
    user_id: str
    session_id: str | None
    type: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    run_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Utterance:
    """An item as a run reads it again. `tool_calls` are `{id, name, arguments}` each; `tool_call_id` is the call whose
    result it is."""

    role: str
    text: str
    session_id: str | None
    created_at: datetime
    tool_calls: Sequence[Mapping[str, str]] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryStore:
    id: UUID
    project_id: UUID
    name: str
    description: str | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """`content` is None in lists. `size` counts characters."""

    id: UUID
    store_id: UUID
    user_id: str
    path: str
    size: int
    created_at: datetime
    updated_at: datetime
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What a deletion of items removed; no receipt where there was nothing to remove."""

    items: int
    deletion_id: UUID | None


@dataclass(frozen=True, slots=True)
class Conversed:
    """What a run says for a memory to keep. `key` tells the messages of one node of a run from those of another."""

    memory_id: UUID
    user_id: str
    session_id: str | None
    key: str
    messages: Sequence[Mapping[str, Any]]
