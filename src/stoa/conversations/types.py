"""Conversations, their messages and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The catalogue's entry, as a conversation shows it."""

    id: UUID
    name: str
    slug: str
    provider: str


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
    """What the model is told and may call; None is a bare model."""
    message_count: int
    active_run_id: UUID | None
    created_at: datetime
    updated_at: datetime


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
class Deletion:
    """A receipt: per store the rows and bytes removed; `verified_at` once a re-scan found nothing."""

    id: UUID
    kind: str
    subject_id: UUID
    stores: Mapping[str, Mapping[str, int]]
    created_at: datetime
    verified_at: datetime | None
