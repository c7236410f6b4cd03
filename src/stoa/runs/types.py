"""A run: one answer being made, from `created` to its one terminal event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from stoa.journal import JournalKey


class RunStatus(StrEnum):
    CREATED = "created"
    STARTED = "started"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Run:
    id: UUID
    org_id: UUID
    project_id: UUID
    conversation_id: UUID
    message_id: UUID
    message_position: int
    model_id: UUID
    app_id: UUID | None
    user_id: str | None
    status: RunStatus
    options: Mapping[str, Any]
    input: Mapping[str, Any]
    output: str | None
    error: Mapping[str, Any] | None
    usage: Mapping[str, Any] | None
    attempt: int
    node_id: UUID | None
    cancel_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def key(self) -> JournalKey:
        return JournalKey(self.org_id, self.project_id, self.id)


@dataclass(frozen=True, slots=True)
class SendMessage:
    """What `POST /v3/conversations/{id}/messages` asks for."""

    content: Sequence[Mapping[str, Any]]
    model_id: UUID | None
    subagents_enabled: bool
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class RunError:
    code: str
    message: str
    retryable: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "retryable": self.retryable}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the status, what was said up to there, and what it cost."""

    status: RunStatus
    output: str
    usage: Mapping[str, Any]
    error: RunError | None = None
    reason: str | None = None
