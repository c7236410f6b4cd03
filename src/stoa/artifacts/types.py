"""Artifacts, their versions and their public links."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stoa.kernel.effects import EffectKey


class Kind(StrEnum):
    """What it is. All versions of an artifact are of one kind."""

    HTML = "html"
    MARKDOWN = "markdown"
    CODE = "code"
    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"
    CSV = "csv"
    CHART = "chart"
    IMAGE = "image"
    PDF = "pdf"
    FILE = "file"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class Version:
    id: UUID
    org_id: UUID
    project_id: UUID
    artifact_id: UUID
    version: int
    name: str
    description: str | None
    mime_type: str
    size: int
    sha256: bytes
    entry_path: str | None
    run_id: UUID | None
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """If `pinned_version_id` is None, the link shows the newest version."""

    id: UUID
    artifact_id: UUID
    pinned_version_id: UUID | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Artifact:
    id: UUID
    org_id: UUID
    project_id: UUID
    store_id: UUID | None
    user_id: str | None
    run_id: UUID | None
    file_name: str
    name: str
    kind: Kind
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    latest: Version
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """None takes the value of the previous version."""

    name: str | None = None
    description: str | None = None
    mime_type: str | None = None
    entry_path: str | None = None


@dataclass(frozen=True, slots=True)
class NewArtifact:
    file_name: str
    name: str
    kind: Kind
    version: NewVersion
    store_id: UUID | None = None
    user_id: str | None = None
    project_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """`of_run` selects what the runs of that run's conversation have published."""

    store_id: UUID | None = None
    user_id: str | None = None
    kind: Kind | None = None
    project_id: UUID | None = None
    of_run: UUID | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The run and the tool call that publish. Such a call takes effect once."""

    run_id: UUID
    call: EffectKey
