"""Sources, their syncs, and what a provider finds at an origin. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, TypeAlias
from uuid import UUID


class Provider(StrEnum):
    WEBSITE = "website"
    DIRECTORY = "directory"
    S3 = "s3"
    GIT = "git"


class SyncStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a sync did so far.

    `found` counts every address visited. Each counts in one of the other fields too, except `deleted`: items whose
    address no longer exists.
    """

    found: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Sync:
    id: UUID
    org_id: UUID
    project_id: UUID
    source_id: UUID
    trigger: str
    status: SyncStatus
    confirm_deletions: bool
    cancel_requested: bool
    attempt: int
    node_id: UUID | None
    counts: Counts
    warnings: Sequence[str]
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Source:
    """Secrets are shown only by `secret_names`. `sync` is the active one, or else the last."""

    id: UUID
    org_id: UUID
    project_id: UUID
    knowledgebase_id: UUID
    name: str
    provider: Provider
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    secret_names: Sequence[str]
    schedule: str | None
    timezone: str
    next_sync_at: datetime | None
    revision: int
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    item_count: int = 0
    sync: Sync | None = None


@dataclass(frozen=True, slots=True)
class NewSource:
    name: str
    provider: Provider
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    secrets: Mapping[str, str] | None
    schedule: str | None
    timezone: str


# --- what a provider finds ------------------------------------------------------------------------------------------
class SourceError(Exception):
    """The origin cannot be listed: an outcome of the sync, not a bug. Nothing is deleted after one.

    `code` is one of: origin_unreachable, origin_timeout, origin_refused, origin_not_found, origin_failed,
    origin_too_large, address_refused, directory_refused, robots_unreachable, credentials_refused, credentials_missing,
    branch_not_found.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored about an address: `state` as the provider last returned it, empty where it must be fetched again.

    `done`: this sync has settled the address already, before its node died; the provider must not report it again.
    """

    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    done: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A file with its hash. The receiver closes `file`."""

    file: BinaryIO
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document of an origin on its way into the base. `replaces` is the item whose content it takes over."""

    file: BinaryIO
    name: str
    mime_type: str | None
    metadata: Mapping[str, Any]
    replaces: UUID | None
    source_id: UUID
    origin: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document that is new, or may have changed. The next sync compares `state` to see whether it changed."""

    origin: str
    name: str
    mime_type: str | None
    content: Content
    metadata: Mapping[str, Any]
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The document is unchanged, as the origin or its listing says. Only where `Known.state` was not empty."""

    origin: str


@dataclass(frozen=True, slots=True)
class NoDocument:
    """The address has no document: a redirect, a page with noindex, an image, 404."""

    origin: str
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be read this time; its item stays."""

    origin: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The listing is incomplete: what it did not name may still exist."""

    reason: str


Finding: TypeAlias = Fetched | Unchanged | NoDocument | Failed | Incomplete
