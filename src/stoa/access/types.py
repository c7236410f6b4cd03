"""Who may do what: organizations, projects, access keys, people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stoa.kernel.principal import SpendingLimit


@dataclass(frozen=True, slots=True)
class Org:
    id: UUID
    name: str
    created_at: datetime
    role: str | None = None
    """Of the user who asks."""


class OrgRole(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class ProjectRole(StrEnum):
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str
    first_name: str
    last_name: str
    timezone: str


@dataclass(frozen=True, slots=True)
class NewUser:
    email: str
    first_name: str = ""
    last_name: str = ""
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Member:
    """`role` is the one in the organization, or in the project that was asked about."""

    user_id: UUID
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """Without its token. `project_role` goes with a project."""

    id: UUID
    org_id: UUID
    project_id: UUID | None
    email: str
    role: str
    project_role: str | None
    expires_at: datetime
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """Without its secret. It acts in one organization."""

    id: UUID
    org_id: UUID
    name: str
    preview: str
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    id: UUID
    org_id: UUID
    name: str
    description: str | None
    visibility: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key without its secret. `project_id` None: organization-wide; `permissions` None: all that its scope allows."""

    id: UUID
    org_id: UUID
    project_id: UUID | None
    name: str
    preview: str
    permissions: Sequence[str] | None
    expires_at: datetime | None
    created_by: UUID | None
    created_at: datetime
    rate_limit: int | None = None
    spending_limit: SpendingLimit | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """The keys that were revoked, or would be: the one that was named first, then those that it made."""

    keys: Sequence["AccessKey"]
    done: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    name: str
    project_id: UUID | None = None
    permissions: Sequence[str] | None = None
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per minute."""
    spending_limit: SpendingLimit | None = None
