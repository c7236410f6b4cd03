"""What agents remember about end users: memories contain messages (items), memory stores contain notes (files)."""

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
    """Selects items of a user in a memory: those of `session_id`, or those without a session.

    `of_sessions` includes items of sessions (of `session_id`, or of all if it is None); `of_user` includes items
    without a session.
    """

    user_id: str
    session_id: str | None
    of_sessions: bool
    of_user: bool


@dataclass(frozen=True, slots=True)
class NewItem:
    """`data` is a message: `role`, `content` (a list of parts), and the fields of tool calls."""

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
class RememberedMessage:
    """An item as a run reads it. Each of `tool_calls` is `{id, name, arguments}`; in a tool's result `tool_call_id` is
    the id of its call."""

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
    """The outcome of a deletion of items. There is no receipt if there were no items."""

    items: int
    deletion_id: UUID | None


@dataclass(frozen=True, slots=True)
class MemoryAddition:
    """The messages that a run adds to a memory. `key` distinguishes the nodes of a workflow that add to one memory in
    one run."""

    memory_id: UUID
    user_id: str
    session_id: str | None
    key: str
    messages: Sequence[Mapping[str, Any]]
