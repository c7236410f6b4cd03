"""The JSON shapes of access (contract section 3)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from stoa.access.types import (
    AccessKey,
    Dependent,
    Invitation,
    Member,
    Org,
    OrgRole,
    PersonalToken,
    Project,
    ProjectChange,
    ProjectRole,
    Revocation,
    User,
)
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("cannot be blank")
    return storable(text)


def total(limit: Any) -> Any:
    """Reads a plain number as US dollars for the key's whole life."""
    return (
        {"usd": limit, "period": "total"} if isinstance(limit, int | float) and not isinstance(limit, bool) else limit
    )


Name = Annotated[str, Field(max_length=100), AfterValidator(_name)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(storable)]
Description = Annotated[str, Field(max_length=512), AfterValidator(storable)]


class SpendingLimitWire(Body):
    """The maximum that a key may spend on models in a calendar day or month (UTC), or in total."""

    usd: Annotated[float, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
    period: Literal["day", "month", "total"]


class CreateAccessKey(Body):
    """`rate_limit` is in requests per minute, over all nodes. `spending_limit` is in US dollars; a plain number applies
    to the key's whole life. `cache_seconds` is the maximum age of a cached gateway answer, for requests without the
    header `Stoa-Cache`. `resumable_streams`: streamed chat completions can be resumed, for requests without the header
    `Stoa-Resumable`.

    A key with a rate or spending limit cannot create keys, because each new key would have its own limits.
    """

    example: ClassVar[Mapping[str, Any]] = {"name": "ci", "permissions": ["conversations:write"], "rate_limit": 600}

    name: Name
    org_id: UUID | None = None
    project_id: UUID | None = None
    expires_at: AwareDatetime | None = None
    permissions: Annotated[list[str], Field(min_length=1, max_length=50)] | None = None
    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    spending_limit: (
        Annotated[SpendingLimitWire, BeforeValidator(total, json_schema_input_type=float | SpendingLimitWire)] | None
    ) = None
    cache_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    resumable_streams: bool = False


class ProjectBody(Body):
    example: ClassVar[Mapping[str, Any]] = {"name": "support", "description": "Answers customers"}

    name: Name
    org_id: UUID | None = None
    description: Description | None = None
    visibility: Literal["internal", "private"] = "internal"
    retention_days: Annotated[float, Field(gt=0, le=36_500)] | None = Field(
        None,
        description="Conversations in which nothing has happened for so many days are deleted, with a receipt. Null:"
        " never. A PUT without it leaves it as it is.",
    )


class AccessKeyWire(Wire):
    """`last_used_at` may be half a minute old. `successor_id` is the key that replaced this one in a rotation."""

    id: UUID
    org_id: UUID
    project_id: UUID | None
    name: str
    preview: str
    permissions: Sequence[str] | None
    expires_at: Timestamp | None
    created_by: UUID | None
    created_at: Timestamp
    rate_limit: int | None
    spending_limit: SpendingLimitWire | None
    cache_seconds: int | None
    resumable_streams: bool
    last_used_at: Timestamp | None
    successor_id: UUID | None


class DependentTriggerWire(Wire):
    id: UUID
    name: str
    app_id: UUID


class CreatedAccessKeyWire(AccessKeyWire):
    """`key` is the secret, which only this response has."""

    key: str | None


class RevokedKeyWire(Wire):
    id: UUID
    name: str
    preview: str
    project_id: UUID | None
    created_by: UUID | None


class RevocationWire(Wire):
    """`revoked` are the keys that were revoked; a dry run returns `would_revoke` instead. `triggers` acted as these
    keys: they start no more runs until somebody activates them again."""

    message: Literal["deleted", "ok"]
    revoked: Sequence[RevokedKeyWire] | None
    would_revoke: Sequence[RevokedKeyWire] | None
    triggers: Sequence[DependentTriggerWire] | None


class OrgBody(Body):
    example: ClassVar[Mapping[str, Any]] = {"name": "Acme"}

    name: Name


class CreateToken(Body):
    """`org_id` is the organization in which the new token acts, by default that of the caller's credential."""

    example: ClassVar[Mapping[str, Any]] = {"name": "laptop"}

    name: Name
    org_id: UUID | None = None
    expires_at: AwareDatetime | None = None


class RoleBody(Body):
    example: ClassVar[Mapping[str, Any]] = {"role": "admin"}

    role: OrgRole


class ProjectRoleBody(Body):
    example: ClassVar[Mapping[str, Any]] = {"role": "editor"}

    role: ProjectRole


class AddProjectMember(Body):
    """Names a member of the organization, by `user_id` or `email`."""

    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "role": "editor"}

    user_id: UUID | None = None
    email: Email | None = None
    role: ProjectRole = ProjectRole.EDITOR


class Invite(Body):
    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "role": "member"}

    email: Email
    role: OrgRole = OrgRole.MEMBER


class InviteToProject(Body):
    """The person also becomes a member of the organization."""

    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "role": "editor"}

    email: Email
    role: ProjectRole = ProjectRole.EDITOR


class AcceptInvitation(Body):
    """`token` is the credential. Names and password are for a new user; those of an existing user do not change."""

    example: ClassVar[Mapping[str, Any]] = {
        "token": "stoa_inv_…",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password": "correct horse battery",
    }

    token: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(not_blank)]
    first_name: Annotated[str, Field(max_length=100), AfterValidator(storable)] = ""
    last_name: Annotated[str, Field(max_length=100), AfterValidator(storable)] = ""
    timezone: Annotated[str, Field(max_length=100), AfterValidator(not_blank)] = "UTC"
    password: Annotated[str, Field(max_length=1_024), AfterValidator(not_blank)] | None = None


class UserWire(Wire):
    id: UUID
    email: str
    first_name: str
    last_name: str
    timezone: str


class MemberWire(Wire):
    user_id: UUID
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: Timestamp


class InvitationWire(Wire):
    id: UUID
    org_id: UUID
    project_id: UUID | None
    email: str
    role: str
    project_role: str | None
    expires_at: Timestamp
    created_by: UUID | None
    created_at: Timestamp


class SentInvitationWire(InvitationWire):
    """Only this response has the `token`. It is missing if it was sent by mail (`mailed`)."""

    token: str | None
    mailed: bool


class AcceptedWire(Wire):
    """`key` is the first personal access token of a new user. Only this response has it."""

    user: UserWire
    org_id: UUID
    key: str | None


class TokenWire(Wire):
    id: UUID
    org_id: UUID
    name: str
    preview: str
    expires_at: Timestamp | None
    created_at: Timestamp


class CreatedTokenWire(TokenWire):
    """`key` is the secret, which only this response has."""

    key: str | None


class OrgWire(Wire):
    """`role` is the caller's role; a key has none."""

    id: UUID
    name: str
    created_at: Timestamp
    role: str | None


class ProjectWire(Wire):
    id: UUID
    org_id: UUID
    name: str
    description: str | None
    visibility: Literal["internal", "private"]
    retention_days: float | None
    created_at: Timestamp
    updated_at: Timestamp


def key(value: AccessKey) -> AccessKeyWire:
    return AccessKeyWire(**key_fields(value))


def dependents(values: Sequence[Dependent]) -> list[DependentTriggerWire]:
    return [DependentTriggerWire(id=one.id, name=one.name, app_id=one.app_id) for one in values]


def created_key(value: AccessKey, secret: str | None) -> CreatedAccessKeyWire:
    return CreatedAccessKeyWire(**key_fields(value), key=secret)


def key_fields(value: AccessKey) -> dict[str, Any]:
    limit = value.spending_limit
    fields = {name: getattr(value, name, None) for name in AccessKeyWire.model_fields}
    fields["last_used_at"] = value.uses[0].last_at if value.uses else None
    return fields | {"spending_limit": SpendingLimitWire(usd=limit.usd, period=limit.period) if limit else None}


def org(value: Org) -> OrgWire:
    return OrgWire(id=value.id, name=value.name, created_at=value.created_at, role=value.role)


def user(value: User) -> UserWire:
    return UserWire(**{name: getattr(value, name) for name in UserWire.model_fields})


def member(value: Member) -> MemberWire:
    return MemberWire(**{name: getattr(value, name) for name in MemberWire.model_fields})


def invitation(value: Invitation) -> InvitationWire:
    return InvitationWire(**_invitation_fields(value))


def sent(value: Invitation, token: str | None, mailed: bool) -> SentInvitationWire:
    return SentInvitationWire(**_invitation_fields(value), token=token, mailed=mailed)


def _invitation_fields(value: Invitation) -> dict[str, Any]:
    return {name: getattr(value, name) for name in InvitationWire.model_fields}


def token(value: PersonalToken) -> TokenWire:
    return TokenWire(**_token_fields(value))


def created_token(value: PersonalToken, secret: str | None) -> CreatedTokenWire:
    return CreatedTokenWire(**_token_fields(value), key=secret)


def _token_fields(value: PersonalToken) -> dict[str, Any]:
    return {name: getattr(value, name) for name in TokenWire.model_fields}


def project_change(body: ProjectBody) -> ProjectChange:
    meant = "retention_days" in body.model_fields_set
    return ProjectChange(body.name, body.description, body.visibility, body.retention_days, not meant)


def project(value: Project) -> ProjectWire:
    return ProjectWire(**{name: getattr(value, name) for name in ProjectWire.model_fields})


def revocation(made: Revocation) -> RevocationWire:
    keys = [
        RevokedKeyWire(
            id=key.id, name=key.name, preview=key.preview, project_id=key.project_id, created_by=key.created_by
        )
        for key in made.keys
    ]
    return RevocationWire(
        message="deleted" if made.done else "ok",
        revoked=keys if made.done else None,
        would_revoke=None if made.done else keys,
        triggers=dependents(made.triggers) or None,
    )
