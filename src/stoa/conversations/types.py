"""Conversations, their messages and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The catalogue's entry, as a conversation shows it."""

    id: UUID
    name: str
    slug: str
    provider: str


@dataclass(frozen=True, slots=True)
class AppRef:
    """The app that a conversation is bound to, as it shows it."""

    id: UUID
    name: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a run of an app; None: the run gets its own conversation."""

    app_id: UUID
    project_id: UUID
    user_id: str | None
    session_id: UUID | None


@dataclass(frozen=True, slots=True)
class Conversation:
    id: UUID
    org_id: UUID
    project_id: UUID
    title: str | None
    app_id: UUID | None
    model: ModelRef | None
    user_id: str | None
    metadata: Mapping[str, Any] | None
    agent: Mapping[str, Any] | None
    """The model's instructions and tools; None is a bare model."""
    message_count: int
    active_run_id: UUID | None
    created_at: datetime
    updated_at: datetime
    forked_from: UUID | None = None
    """The conversation that it was forked from, while that exists."""
    forked_from_message_id: UUID | None = None
    usage: Mapping[str, Any] | None = None
    """The usage of all its model calls; set when a single conversation is read."""
    app: AppRef | None = None
    """None once the app is deleted."""
    session_id: UUID | None = None
    pinned_at: datetime | None = None
    """When it was pinned; None: it is not."""


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """`content` is a list of parts: `{"type": "text", "text"}` or `{"type": "file", "file": {"id", "name"}}`."""

    id: UUID
    conversation_id: UUID
    position: int
    role: Role
    content: Sequence[Mapping[str, Any]]
    status: str
    run_id: UUID | None
    usage: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    created_at: datetime
    turns: Sequence[Mapping[str, Any]] | None = None
    """An answer's replies with their tool calls and results, if it is more than one text."""
    superseded: bool = False
    """A newer answer to the same message replaces it."""


class HistoryMessage(NamedTuple):
    """A message as a model reads it. Hundreds are read for each run of a long conversation, so it has only the needed
    fields."""

    position: int
    role: Role
    content: Sequence[Mapping[str, Any]]
    status: str
    turns: Sequence[Mapping[str, Any]] | None = None


class FileStatus(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class File:
    """An upload. `pending` until it has been read; `failed` says in `error` why it could not be."""

    id: UUID
    org_id: UUID
    project_id: UUID
    conversation_id: UUID
    name: str
    size: int
    mime_type: str
    sha256: bytes
    status: FileStatus
    pages: int | None
    warnings: Sequence[str] | None
    error: Mapping[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FilePassage:
    """A passage of a converted file: Markdown, with its page (from 1) and heading."""

    text: str
    page: int | None
    heading: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The outcome of a conversion: passages, or the error for the file's owner."""

    passages: Sequence[FilePassage] = ()
    pages: int | None = None
    warnings: Sequence[str] = ()
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """The request of `POST /v1/conversations/{id}/fork`; None keeps the origin's value."""

    from_message_id: UUID | None = None
    title: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A user's message that is to be answered."""

    id: UUID
    position: int
    content: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Retained:
    """The messages and files of a deleted conversation that forks still show, and the forks."""

    messages: int
    files: int
    conversations: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Deletion:
    """A receipt: per store the rows and bytes removed; `verified_at` once a re-scan found nothing.

    `scrubbed_at`: since when the database's files hold no byte of it either.
    """

    id: UUID
    kind: str
    subject_id: UUID
    stores: Mapping[str, Mapping[str, Any]]
    created_at: datetime
    verified_at: datetime | None
    scrubbed_at: datetime | None
    retained: Retained | None
