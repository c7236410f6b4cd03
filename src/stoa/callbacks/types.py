"""A callback: one message to one URL, sent until the receiver accepts it or the attempts are used up."""

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
    """No more attempts are made, unless a replay sends it again."""


@dataclass(frozen=True, slots=True)
class NewCallback:
    url: str
    token: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. If `ended_at` stays None, its node died, and it is not known whether the receiver got it."""

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
    """What a callback says about its run. It is the same for every attempt."""

    type: str
    timestamp: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """The secret in the format for receivers: `whsec_` and base64."""

    secret: str
    created_at: datetime
    previous_expires_at: datetime | None = None
    """When the previous secret stops signing; None if there is none."""
