"""A callback: one message to one address, sent until it is taken or given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class CallbackStatus(StrEnum):
    WAITING = "waiting"
    """The run has not ended."""
    PENDING = "pending"
    RUNNING = "running"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up; a replay sends it again."""


@dataclass(frozen=True, slots=True)
class NewCallback:
    url: str
    token: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. Without `ended_at` its node died: whether it arrived is not known."""

    number: int
    begun_at: datetime
    ended_at: datetime | None
    status_code: int | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Callback:
    id: UUID
    org_id: UUID
    project_id: UUID
    run_id: UUID
    app_id: UUID
    url: str
    auth: bytes | None
    """The bearer token, encrypted."""
    metadata: Mapping[str, Any] | None
    status: CallbackStatus
    error: Mapping[str, Any] | None
    not_before: datetime
    attempt: int
    posts: int
    node_id: UUID | None
    created_at: datetime
    ended_at: datetime | None
    attempts: Sequence[Attempt] = field(default_factory=tuple[Attempt, ...])

    @property
    def webhook_id(self) -> str:
        return f"msg_{self.id.hex}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a callback says of its run: the same at every attempt."""

    type: str
    timestamp: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """As receivers are given it: `whsec_` and base64."""

    secret: str
    created_at: datetime
    previous_expires_at: datetime | None = None
    """Until when the secret before signs too; None where there is none."""
