"""The JSON shapes of requirements (contract section 5.1)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable
from stoa.requirements.types import ConnectToken, NewRequirement, Requirement, RequirementState, RequirementType

Title = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
Text = Annotated[str, Field(max_length=2_000), AfterValidator(storable)]
UserId = Annotated[str, Field(max_length=255), AfterValidator(not_blank)]
_FORM: Mapping[str, Any] = {"title": "Your CRM", "description": "We read your customers to answer."}


class FormBody(Body):
    """What the end user reads on the connect page."""

    title: Title
    description: Text | None = None


class CreateRequirement(Body):
    """`spec` of a `connection`: its `type`, and what only Stoa reads: `fields`, which the user is asked for (`api_key`
    unless named), and `tools`, the project's tools that use them. With the type `oauth2` also `authorize_url`,
    `token_url`, `client_id`, `scopes`; `client_secret` is stored encrypted, and never shown."""

    example: ClassVar[Mapping[str, Any]] = {
        "name": "crm",
        "type": "connection",
        "form": _FORM,
        "spec": {"type": "dynamiq.connections.Http", "fields": ["token"], "tools": ["crm"]},
    }

    name: Annotated[str, Field(max_length=128), AfterValidator(not_blank)]
    type: Literal["connection", "pipedream_account"]
    form: FormBody
    spec: dict[str, Any]
    optional: bool = False
    client_secret: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None


class UpdateRequirement(Body):
    """`optional` left out makes it required."""

    example: ClassVar[Mapping[str, Any]] = {"form": _FORM, "optional": True}

    form: FormBody
    optional: bool = False


class CreateConnectToken(Body):
    """For one end user; `requirement_ids` offers only these."""

    example: ClassVar[Mapping[str, Any]] = {"user_id": "u-1"}

    user_id: UserId
    requirement_ids: Annotated[list[UUID], Field(max_length=100)] | None = None


class GiveCredentials(Body):
    """`type` as the requirement's specification says."""

    example: ClassVar[Mapping[str, Any]] = {"type": "dynamiq.connections.Http", "config": {"token": "example"}}

    type: Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
    config: Annotated[dict[str, Any], Field(max_length=50)]


class FormWire(Wire):
    title: str
    description: str | None


class SpecWire(Wire):
    type: str
    data: dict[str, Any]


class RequirementWire(Wire):
    id: UUID
    workflow_id: UUID
    name: str
    type: Literal["connection", "pipedream_account"]
    form: FormWire
    spec: dict[str, Any]
    optional: bool
    created_at: Timestamp
    created_by: UUID | None
    updated_at: Timestamp


class RequiredWire(Wire):
    """A requirement, as an app shows it."""

    id: UUID
    type: Literal["connection", "pipedream_account"]
    form: FormWire
    spec: SpecWire
    workflow_id: UUID
    name: str
    optional: bool


class StatusWire(Wire):
    """`complete` once everything that is not optional is connected; `unsatisfied` names optional ones too."""

    status: Literal["complete", "incomplete"]
    unsatisfied: list[RequiredWire]


class ConnectTokenWire(Wire):
    """`url` is a page of this server; the token is in its fragment, which no log or Referer gets."""

    token: str
    url: str
    expires_at: Timestamp


class ConnectableWire(Wire):
    """A requirement, as its end user sees it."""

    id: UUID
    type: Literal["connection", "pipedream_account"]
    title: str
    description: str | None
    spec: SpecWire


class ConnectableStateWire(Wire):
    id: UUID
    status: Literal["completed", "pending"]


class SentWire(Wire):
    url: str


def _flat(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """As it is stored: what stands below `data`, where our answers show it, stands beside `type`."""
    below = spec.get("data")
    beside = {name: one for name, one in spec.items() if name != "data"}
    return {**cast("Mapping[str, Any]", below), **beside} if isinstance(below, Mapping) else spec


def new_requirement(body: CreateRequirement) -> NewRequirement:
    return NewRequirement(
        body.name,
        RequirementType(body.type),
        body.form.title,
        body.form.description,
        _flat(body.spec),
        body.client_secret,
        body.optional,
    )


def requirement(value: Requirement) -> RequirementWire:
    return RequirementWire(
        id=value.id,
        workflow_id=value.workflow_id,
        name=value.name,
        type=value.type.value,
        form=FormWire(title=value.title, description=value.description),
        spec=dict(value.spec),
        optional=value.optional,
        created_at=value.created_at,
        created_by=value.created_by,
        updated_at=value.updated_at,
    )


def required(value: Requirement) -> RequiredWire:
    return RequiredWire(
        id=value.id,
        type=value.type.value,
        form=FormWire(title=value.title, description=value.description),
        spec=spec(value),
        workflow_id=value.workflow_id,
        name=value.name,
        optional=value.optional,
    )


def status(held: list[RequirementState]) -> StatusWire:
    missing = [one.requirement for one in held if not one.met]
    complete = all(one.optional for one in missing)
    return StatusWire(status="complete" if complete else "incomplete", unsatisfied=[required(one) for one in missing])


def offer(value: Requirement) -> ConnectableWire:
    return ConnectableWire(
        id=value.id,
        type=value.type.value,
        title=value.title,
        description=value.description,
        spec=spec(value),
    )


def offer_status(value: RequirementState) -> ConnectableStateWire:
    return ConnectableStateWire(id=value.requirement.id, status="completed" if value.met else "pending")


def spec(value: Requirement) -> SpecWire:
    kind = value.spec.get("type") or value.type.value
    return SpecWire(type=str(kind), data={name: one for name, one in value.spec.items() if name != "type"})


def token(value: ConnectToken, url: str) -> ConnectTokenWire:
    return ConnectTokenWire(token=value.token, url=url, expires_at=value.expires_at)
