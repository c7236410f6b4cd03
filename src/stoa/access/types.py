"""Who may do what: organizations, projects, access keys, people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
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


class SignInMethod(StrEnum):
    """How a session began."""

    PASSWORD = "password"  # noqa: S105 — a name, no secret
    OIDC = "oidc"
    INVITATION = "invitation"
    FIRST_START = "first_start"


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session. `secret` is stored in the browser."""

    secret: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class UserSession:
    """Without its secret. `address` and `client` are those of the browser when it signed in."""

    id: UUID
    org_id: UUID
    method: str
    address: str | None
    client: str | None
    created_at: datetime
    expires_at: datetime
    current: bool
    """Whether it is the one that asks."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the account's page shows it."""

    user: User
    org_id: UUID
    """Of the session that asks."""
    orgs: Sequence[Org]
    sessions: Sequence[UserSession]
    has_password: bool
    has_identity: bool
    """Whether the user has signed in with the OpenID Connect provider."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A provider's verified claims. `email_verified`: the provider confirms that the person owns the address."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    first_name: str = ""
    last_name: str = ""
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class SignUpPolicy:
    """Who may sign in with the provider. `domains` of e-mail addresses; none named: all of them."""

    domains: Sequence[str] = ()
    members: bool = False
    """A new user becomes a member of the first organization; otherwise an invitation is required."""


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
    retention_days: float | None = None
    """Conversations without activity for so long are deleted; None: never."""


@dataclass(frozen=True, slots=True)
class ProjectChange:
    """The new values of a project. `keeps_retention`: `retention_days` does not change."""

    name: str
    description: str | None
    visibility: str
    retention_days: float | None = None
    keeps_retention: bool = False


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
    successor_id: UUID | None = None
    """The key that replaced it in a rotation; this one expires at `expires_at`."""
    uses: Sequence["KeyUse"] = ()
    """The last one first."""
    cache_seconds: int | None = None
    """The maximum age of a cached gateway answer."""
    resumable_streams: bool = False
    """Whether its streamed chat completions can be resumed."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A client address that uses a key."""

    address: str | None
    client: str | None
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """Only the named fields change; None removes a limit."""

    fields: frozenset[str]
    name: str | None = None
    permissions: Sequence[str] | None = None
    expires_at: datetime | None = None
    rate_limit: int | None = None
    spending_limit: SpendingLimit | None = None
    cache_seconds: int | None = None
    resumable_streams: bool = False


@dataclass(frozen=True, slots=True)
class Dependent:
    """A trigger that starts runs as a key."""

    id: UUID
    name: str
    app_id: UUID


@dataclass(frozen=True, slots=True)
class Effect:
    """A key, and the permissions that a change takes from it."""

    id: UUID
    name: str
    loses: Sequence[str]


@dataclass(frozen=True, slots=True)
class KeyEffects:
    keys: Sequence[Effect]
    triggers: Sequence[Dependent]
    """Triggers that would stop starting runs."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """The keys that were revoked, or would be: the one that was named first, then those that it made; and the triggers
    that lose access with them."""

    keys: Sequence["AccessKey"]
    done: bool
    triggers: Sequence[Dependent] = ()


@dataclass(frozen=True, slots=True)
class NewKey:
    name: str
    project_id: UUID | None = None
    permissions: Sequence[str] | None = None
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per minute."""
    spending_limit: SpendingLimit | None = None
    cache_seconds: int | None = None
    resumable_streams: bool = False


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what to which subject. `changes` are `{table, before, after, hidden}`, without secrets and content."""

    id: int
    org_id: UUID
    project_id: UUID | None
    at: datetime
    key_id: UUID | None
    user_id: UUID | None
    action: str
    subject_id: UUID | None
    request_id: str | None
    method: str | None
    path: str | None
    address: str | None
    client: str | None
    changes: Sequence[Mapping[str, Any]] | None
    sequence: int | None
    """None until it is sealed."""
    hash: bytes | None
    previous: bytes | None = None
    """The hash before it, where the chain is read."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    action: str | None = None
    subject_id: UUID | None = None
    actor_id: UUID | None = None
    """A key or a user."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChainHead:
    """0 where nothing is in the chain."""

    sequence: int
    hash: bytes
