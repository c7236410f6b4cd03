"""Requirements, and what end users have connected."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote
from uuid import UUID


class RequirementType(StrEnum):
    CONNECTION = "connection"
    PIPEDREAM_ACCOUNT = "pipedream_account"


@dataclass(frozen=True, slots=True)
class Requirement:
    id: UUID
    org_id: UUID
    project_id: UUID
    workflow_id: UUID
    name: str
    type: RequirementType
    title: str
    description: str | None
    spec: Mapping[str, Any]
    secret: bytes | None
    optional: bool
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime

    @property
    def oauth2(self) -> bool:
        return self.spec.get("type") == OAUTH2


OAUTH2 = "oauth2"
"""The `spec.type` of a connection that the user makes at an OAuth2 service."""


@dataclass(frozen=True, slots=True)
class NewRequirement:
    name: str
    type: RequirementType
    title: str
    description: str | None
    spec: Mapping[str, Any]
    client_secret: str | None
    optional: bool


@dataclass(frozen=True, slots=True)
class RequirementState:
    """A requirement, and what one end user has connected for it. `secret` is None if nothing is connected."""

    requirement: Requirement
    connection_id: UUID | None
    secret: bytes | None
    expires_at: datetime | None

    @property
    def met(self) -> bool:
        return self.connection_id is not None


@dataclass(frozen=True, slots=True)
class Connecting:
    """The end user and app of a connect token. Empty `requirement_ids` means all requirements of the app."""

    org_id: UUID
    project_id: UUID
    app_id: UUID
    user_id: str
    requirement_ids: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class ConnectToken:
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Client:
    """This server's registration at an OAuth2 service. The secret is sent by HTTP Basic, which every service accepts
    (RFC 6749, 2.3.1), unless `in_form` is set."""

    id: str
    secret: str | None
    in_form: bool = False

    def fields(self) -> Mapping[str, str]:
        if self.secret is None:
            return {"client_id": self.id}
        return {"client_id": self.id, "client_secret": self.secret} if self.in_form else {}

    def headers(self) -> Mapping[str, str]:
        if self.secret is None or self.in_form:
            return {}
        pair = f"{quote(self.id, safe='')}:{quote(self.secret, safe='')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


@dataclass(frozen=True, slots=True)
class Redirect:
    """The URL to redirect a browser to, and the cookie that identifies the browser when it returns."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class UserCredentials:
    """The end user's credentials for a run's tools: by tool, the fields that replace its secrets; and the tools to
    leave out."""

    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    withheld: frozenset[str] = frozenset()
