"""Triggers of apps, their schedules and webhooks, and the log of their events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias
from uuid import UUID


class Provider(StrEnum):
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"


class TriggerStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"
    EXPIRED = "expired"


class CatchUp(StrEnum):
    """What happens with due times that passed while no node was running."""

    SKIP = "skip"
    LAST = "last"
    ALL = "all"


class EventStatus(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    """A node is about to start the run. Clients see `pending`."""
    ACCEPTED = "accepted"
    """Its run has begun."""
    FAILED = "failed"
    SKIPPED = "skipped"


class Source(StrEnum):
    """Where an event came from."""

    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either `cron` (five fields, in `timezone`) or `run_at`, once."""

    timezone: str
    cron: str | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    catch_up: CatchUp = CatchUp.LAST


@dataclass(frozen=True, slots=True)
class Signature:
    """How a webhook's sender signs. `scheme` standard: Standard Webhooks; hmac-sha256: the hex digest of the body, in
    `header`, with or without `sha256=` before it."""

    scheme: Literal["standard", "hmac-sha256"]
    header: str


@dataclass(frozen=True, slots=True)
class Webhook:
    delivery_header: str | None = None
    """The header with the delivery's id; None: those that are usual."""
    signature: Signature | None = None


Config: TypeAlias = Schedule | Webhook


@dataclass(frozen=True, slots=True)
class Actor:
    """The access key or the user that the trigger acts as."""

    id: UUID
    user: bool


@dataclass(frozen=True, slots=True)
class Trigger:
    id: UUID
    org_id: UUID
    project_id: UUID
    app_id: UUID
    name: str
    provider: Provider
    config: Config
    input_transformer: Mapping[str, Any] | None
    status: TriggerStatus
    next_at: datetime | None
    """The next due instant of an active schedule."""
    problem: Mapping[str, str] | None
    """Why the server stopped it: {code, message}."""
    actor: Actor
    created_by: UUID | None
    created_at: datetime
    updated_by: UUID | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewTrigger:
    name: str
    provider: Provider
    config: Config
    input_transformer: Mapping[str, Any] | None = None
    signing_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """`fields` are the sent names. A webhook's signing secret stays unless another one is sent."""

    fields: frozenset[str]
    config: Config | None = None
    input_transformer: Mapping[str, Any] | None = None
    signing_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    id: UUID
    trigger_id: UUID
    source: Source
    due_at: datetime | None
    delivery_id: str | None
    payload: Mapping[str, Any]
    status: EventStatus
    run_id: UUID | None
    error: Mapping[str, str] | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """An event whose run is to be started: the job of a worker, fenced by `node_id` and `attempt`."""

    id: UUID
    org_id: UUID
    project_id: UUID
    trigger_id: UUID
    app_id: UUID
    payload: Mapping[str, Any]
    input_transformer: Mapping[str, Any] | None
    actor: Actor
    archived: bool
    attempt: int
    node_id: UUID


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request to a webhook's URL."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
