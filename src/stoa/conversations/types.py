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
    """Where a run of an app belongs: its user's session, or with None a conversation of its own."""

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
    """The conversation whose history it shares, while that is there."""
    forked_from_message_id: UUID | None = None
    usage: Mapping[str, Any] | None = None
    """What all its model calls used; known where one conversation is asked for."""
    app: AppRef | None = None
    """While the app is there."""
    session_id: UUID | None = None


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
    """An answer's replies with their tool calls and results, where there was more to it than one text."""
    superseded: bool = False
    """Another answer to the same message counts in its place."""


class HistoryMessage(NamedTuple):
    """A message as a model reads it. Of a long conversation hundreds are read for each run, so it holds no more than
    that."""

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
    """A piece of what was read out of a file: Markdown, with the page (from 1) and heading it stands under."""

    text: str
    page: int | None
    heading: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a file gave: passages, or the error that goes to its owner."""

    passages: Sequence[FilePassage] = ()
    pages: int | None = None
    warnings: Sequence[str] = ()
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """What `POST /v1/conversations/{id}/fork` asks for; None keeps what the origin has."""

    from_message_id: UUID | None = None
    title: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A user's message that an answer is to be made to."""

    id: UUID
    position: int
    content: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Retained:
    """What forks still show of a deleted conversation, and which."""

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
