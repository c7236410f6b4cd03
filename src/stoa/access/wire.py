"""The JSON shapes of access (contract section 3)."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from stoa.access.types import AccessKey, Org, Project
from stoa.http import Timestamp, Wire
from stoa.http.wire import storable


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("cannot be blank")
    return storable(text)


def _unavailable(value: object) -> object:
    if value is not None:
        raise ValueError("is not available in this version; leave it out")
    return value


Name = Annotated[str, Field(max_length=100), AfterValidator(_name)]
Description = Annotated[str, Field(max_length=512), AfterValidator(storable)]


class CreateAccessKey(Wire):
    name: Name
    org_id: UUID | None = None
    project_id: UUID | None = None
    expires_at: AwareDatetime | None = None
    permissions: Annotated[list[str], Field(min_length=1, max_length=50)] | None = None
    rate_limit: Annotated[object, AfterValidator(_unavailable)] = None
    spending_limit: Annotated[object, AfterValidator(_unavailable)] = None


class ProjectBody(Wire):
    name: Name
    org_id: UUID | None = None
    description: Description | None = None
    visibility: Literal["internal", "private"] = "internal"


class AccessKeyWire(Wire):
    id: UUID
    org_id: UUID
    project_id: UUID | None
    name: str
    preview: str
    permissions: Sequence[str] | None
    expires_at: Timestamp | None
    created_by: UUID | None
    created_at: Timestamp


class CreatedAccessKeyWire(AccessKeyWire):
    """`key` is the secret, shown this once."""

    key: str | None


class OrgWire(Wire):
    id: UUID
    name: str
    created_at: Timestamp


class ProjectWire(Wire):
    id: UUID
    org_id: UUID
    name: str
    description: str | None
    visibility: Literal["internal", "private"]
    created_at: Timestamp
    updated_at: Timestamp


def key(value: AccessKey) -> AccessKeyWire:
    return AccessKeyWire(**_key_fields(value))


def created_key(value: AccessKey, secret: str | None) -> CreatedAccessKeyWire:
    return CreatedAccessKeyWire(**_key_fields(value), key=secret)


def _key_fields(value: AccessKey) -> dict[str, Any]:
    return {name: getattr(value, name) for name in AccessKeyWire.model_fields}


def org(value: Org) -> OrgWire:
    return OrgWire(id=value.id, name=value.name, created_at=value.created_at)


def project(value: Project) -> ProjectWire:
    return ProjectWire(**{name: getattr(value, name) for name in ProjectWire.model_fields})
