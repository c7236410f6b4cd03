"""The JSON shapes of sources and their syncs (contract section 7)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank
from stoa.sources import configs, rules
from stoa.sources.types import NewSource, Provider, Source, Sync

Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]


def _schedule(text: str) -> str:
    if problem := rules.schedule_problem(text):
        raise ValueError(problem)
    return text


def _timezone(name: str) -> str:
    if problem := rules.timezone_problem(name):
        raise ValueError(problem)
    return name


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if problem := rules.metadata_problem(value):
        raise ValueError(problem)
    return value


def _no_connection(value: UUID | None) -> None:
    if value is not None:
        raise ValueError("cannot be used by sources in this version; send the credential in secrets")


# --- in -------------------------------------------------------------------------------------------------------------
class SourceFields(Body):
    """`schedule` is an interval (`15m`, `6h`, `1d`; it begins at once) or five fields of cron in `timezone`; without
    one, a source is synced when asked.

    `metadata` is given to every item, over what the provider says of it: for filters and `acl`. `secrets` are
    write-only.
    """

    name: Name
    schedule: Annotated[str, Field(max_length=200), AfterValidator(not_blank), AfterValidator(_schedule)] | None = None
    timezone: Annotated[str, Field(max_length=100), AfterValidator(_timezone)] = "UTC"
    metadata: Annotated[dict[str, Any], AfterValidator(_metadata)] = Field(default_factory=dict)
    connection_id: Annotated[UUID | None, AfterValidator(_no_connection)] = None


class WebsiteBody(SourceFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "docs",
        "provider": "website",
        "config": {"url": "https://example.com/docs"},
        "schedule": "6h",
    }

    provider: Literal["website"]
    config: configs.WebsiteConfig
    secrets: configs.WebsiteSecrets | None = None


class DirectoryBody(SourceFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "share",
        "provider": "directory",
        "config": {"path": "/srv/documents"},
    }

    provider: Literal["directory"]
    config: configs.DirectoryConfig
    secrets: configs.DirectorySecrets | None = None


class S3Body(SourceFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "bucket",
        "provider": "s3",
        "config": {"bucket": "documents", "prefix": "public/"},
    }

    provider: Literal["s3"]
    config: configs.S3Config
    secrets: configs.S3Secrets | None = None


class GitBody(SourceFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "handbook",
        "provider": "git",
        "config": {"url": "https://example.com/handbook.git"},
    }

    provider: Literal["git"]
    config: configs.GitConfig
    secrets: configs.GitSecrets | None = None


SourceBody = Annotated[WebsiteBody | DirectoryBody | S3Body | GitBody, Field(discriminator="provider")]


class SyncIn(Body):
    """`confirm_deletions`: what the origin lost goes, however much it is."""

    example: ClassVar[Mapping[str, Any]] = {"confirm_deletions": True}

    confirm_deletions: bool = False


# --- out ------------------------------------------------------------------------------------------------------------
class CountsWire(Wire):
    """`found` addresses were looked at; each was added, updated, unchanged, skipped (it holds no document) or failed.
    `deleted` items were lost by the origin."""

    found: int
    added: int
    updated: int
    unchanged: int
    skipped: int
    deleted: int
    failed: int


class SyncErrorWire(Wire):
    code: str
    message: str


class SyncWire(Wire):
    """With an `error` while it is `pending`: it is tried again soon."""

    id: UUID
    source_id: UUID
    trigger: Literal["manual", "schedule"]
    status: Literal["pending", "running", "completed", "failed", "canceled"]
    counts: CountsWire
    warnings: Sequence[str]
    error: SyncErrorWire | None
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None


class SourceWire(Wire):
    """`secret_names` is all that is shown of the secrets. `sync` is the one under way, or else the last."""

    id: UUID
    knowledgebase_id: UUID
    project_id: UUID
    name: str
    provider: Literal["website", "directory", "s3", "git"]
    config: dict[str, Any]
    metadata: dict[str, Any]
    secret_names: Sequence[str]
    schedule: str | None
    timezone: str
    next_sync_at: Timestamp | None
    item_count: int
    sync: SyncWire | None
    created_at: Timestamp
    updated_at: Timestamp


class FailureWire(Wire):
    """An address that the last sync could not read; what it held before stays."""

    origin: str
    error: SyncErrorWire


class SourceDeletedWire(Wire):
    """With a receipt at /v1/deletions/{deletion_id} where items went too."""

    message: Literal["deleted"]
    deletion_id: UUID | None


def new(body: WebsiteBody | DirectoryBody | S3Body | GitBody) -> NewSource:
    secrets = body.secrets.model_dump(exclude_none=True) if body.secrets is not None else None
    config = body.config.model_dump(mode="json")
    return NewSource(body.name, Provider(body.provider), config, body.metadata, secrets, body.schedule, body.timezone)


def sync(value: Sync) -> SyncWire:
    return SyncWire.model_validate(
        {**_fields(SyncWire, value), "status": value.status.value, "counts": _fields(CountsWire, value.counts)}
    )


def source(value: Source) -> SourceWire:
    last = sync(value.sync) if value.sync is not None else None
    return SourceWire.model_validate({**_fields(SourceWire, value), "provider": value.provider.value, "sync": last})


def failure(value: tuple[str, Mapping[str, str]]) -> FailureWire:
    origin, error = value
    return FailureWire(origin=origin, error=SyncErrorWire(code=error["code"], message=error["message"]))


def _fields(wire: type[Wire], value: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in wire.model_fields}
