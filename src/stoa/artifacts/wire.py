"""The JSON shapes of artifacts (contract section 6)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from stoa.artifacts import rules
from stoa.artifacts.types import Artifact, Kind, NewArtifact, NewVersion, Share, Version
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable

Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
Description = Annotated[str, Field(max_length=2_000), AfterValidator(storable)]
Short = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]


def _file_name(name: str) -> str:
    if "/" in name or "\\" in name:
        raise ValueError("is a name without directories")
    return not_blank(name)


FileName = Annotated[str, Field(max_length=200), AfterValidator(_file_name)]
TextKind = Literal["html", "markdown", "code", "svg", "mermaid", "json", "csv", "chart"]


# --- in -------------------------------------------------------------------------------------------------------------
class VersionFields(Body):
    """What is left out is as in the version before. A type is read of the kinds file, image and code alone."""

    example: ClassVar[Mapping[str, Any]] = {"description": "What has changed."}

    name: Name | None = None
    description: Description | None = None
    mime_type: Short | None = None
    entry_path: Short | None = None


class ArtifactFields(Body):
    """The part `data` of an upload."""

    file_name: FileName
    name: Name
    kind: Kind
    description: Description | None = None
    mime_type: Short | None = None
    entry_path: Short | None = None
    store_id: UUID | None = None
    user_id: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    project_id: UUID | None = None


class CreateArtifact(ArtifactFields):
    """An artifact that is text; anything else goes up as multipart."""

    example: ClassVar[Mapping[str, Any]] = {
        "file_name": "report.md",
        "name": "Report",
        "kind": "markdown",
        "content": "# All is well",
    }

    kind: TextKind  # type: ignore[assignment] — the same words, fewer of them
    content: Annotated[str, AfterValidator(not_blank)]


class CreateArtifactVersion(VersionFields):
    example: ClassVar[Mapping[str, Any]] = {"content": "# All is well again", "description": "Another day"}

    content: Annotated[str, AfterValidator(not_blank)]


class ShareArtifact(Body):
    """Without a pinned version the link shows the newest."""

    example: ClassVar[Mapping[str, Any]] = {}

    pinned_version_id: UUID | None = None
    expires_at: AwareDatetime | None = None


def new_version(body: VersionFields | ArtifactFields) -> NewVersion:
    return NewVersion(body.name, body.description, body.mime_type, body.entry_path)


def new_artifact(body: ArtifactFields) -> NewArtifact:
    return NewArtifact(
        body.file_name, body.name, Kind(body.kind), new_version(body), body.store_id, body.user_id, body.project_id
    )


# --- out ------------------------------------------------------------------------------------------------------------
class ArtifactVersionWire(Wire):
    """`checksum` is the SHA-256 of the content."""

    id: UUID
    artifact_id: UUID
    version: int
    name: str
    description: str | None
    mime_type: str
    size: int
    checksum: str
    entry_path: str | None
    run_id: UUID | None
    created_by: UUID | None
    created_at: Timestamp


class ArtifactWire(Wire):
    """`url` is the link that anybody may open where it is shared (`visibility` link), else the newest version for who
    may read it."""

    id: UUID
    org_id: UUID
    project_id: UUID
    store_id: UUID | None
    user_id: str | None
    run_id: UUID | None
    file_name: str
    name: str
    description: str | None
    kind: Kind
    mime_type: str
    visibility: Literal["private", "link"]
    url: str
    latest_version: ArtifactVersionWire
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class ArtifactShareWire(Wire):
    id: UUID
    artifact_id: UUID
    url: str
    pinned_version_id: UUID | None
    expires_at: Timestamp | None


def version(value: Version) -> ArtifactVersionWire:
    return ArtifactVersionWire(
        id=value.id,
        artifact_id=value.artifact_id,
        version=value.version,
        name=value.name,
        description=value.description,
        mime_type=value.mime_type,
        size=value.size,
        checksum=value.sha256.hex(),
        entry_path=value.entry_path,
        run_id=value.run_id,
        created_by=value.created_by,
        created_at=value.created_at,
    )


def artifact(value: Artifact, root: str) -> ArtifactWire:
    own = f"{root}/v1/artifacts/{value.id}/versions/latest/download"
    return ArtifactWire(
        id=value.id,
        org_id=value.org_id,
        project_id=value.project_id,
        store_id=value.store_id,
        user_id=value.user_id,
        run_id=value.run_id,
        file_name=value.file_name,
        name=value.name,
        description=value.latest.description,
        kind=value.kind,
        mime_type=value.latest.mime_type,
        visibility="link" if value.share else "private",
        url=link(value.share, root) if value.share else own,
        latest_version=version(value.latest),
        created_by=value.created_by,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def share(value: Share, root: str) -> ArtifactShareWire:
    return ArtifactShareWire(
        id=value.id,
        artifact_id=value.artifact_id,
        url=link(value, root),
        pinned_version_id=value.pinned_version_id,
        expires_at=value.expires_at,
    )


def link(value: Share, root: str) -> str:
    return f"{root}/v1/shared/{rules.token(value.id)}"
