"""The caller. Made once per request from a credential; every tenant transaction is opened for a principal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID


class CredentialKind(StrEnum):
    ACCESS_KEY = "access_key"
    PERSONAL_TOKEN = "personal_token"  # noqa: S105 — a kind, no secret
    CONNECT_TOKEN = "connect_token"  # noqa: S105 — the same
    SESSION = "session"
    """A signed-in user of the console; the console verifies it and no bearer header carries it."""


@dataclass(frozen=True, slots=True)
class SpendingLimit:
    """US dollars that a key may spend on models in a calendar day or month (UTC), or altogether (`total`)."""

    usd: float
    period: Literal["day", "month", "total"]


@dataclass(frozen=True, slots=True)
class Grants:
    """What a user's roles permit. A project that is not in `projects` does not exist for the user."""

    everywhere: frozenset[str]
    """In every project, also in future ones, and in the organization itself: for owners and admins."""
    organization: frozenset[str]
    """On the organization itself, and in no project."""
    projects: Mapping[UUID, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Principal:
    """A credential's scope: one organization, and one project of it unless the credential is organization-wide.

    A user's scope depends on what is asked: `permitted` gives the principal that sees the projects whose role permits
    it.
    """

    org_id: UUID
    project_id: UUID | None
    key_id: UUID
    permissions: frozenset[str] | None = None
    """The key's permissions; None is everything in its scope."""
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per minute."""
    spending_limit: SpendingLimit | None = None
    credential: CredentialKind = CredentialKind.ACCESS_KEY
    user_id: UUID | None = None
    """The user behind a token or session; None for a key. Conversations belong to their user, or to the keys."""
    projects: Sequence[UUID] | None = None
    """The projects that transactions see, if that is several or none; None if `project_id` names the only one."""
    grants: Grants | None = None
    cache_seconds: int | None = None
    """The maximum age of a cached gateway answer, for requests of the key that do not say."""
    resumable_streams: bool = False
    """Whether streamed chat completions can be resumed, for requests of the key that do not say."""

    @property
    def scope(self) -> str:
        """Names the scope in which an Idempotency-Key is unique."""
        return f"{self.org_id}/{f'user:{self.user_id}' if self.user_id else self.project_id or '*'}"

    @property
    def organization_wide(self) -> bool:
        return self.project_id is None and self.projects is None

    def permitted(self, permissions: Sequence[str]) -> "Principal | None":
        """The principal for a request that needs one of `permissions`; None if it has none of them anywhere.

        A key keeps its scope. A user sees the projects in which a role permits the request, so that a route which
        changes something finds nothing in a project that the user may only read.
        """
        if self.grants is None:
            missing = self.permissions is not None and self.permissions.isdisjoint(permissions)
            return None if missing else self
        if not self.grants.everywhere.isdisjoint(permissions):
            return replace(self, projects=None)
        projects = [one for one, granted in self.grants.projects.items() if not granted.isdisjoint(permissions)]
        if not projects and self.grants.organization.isdisjoint(permissions):
            return None
        return replace(self, projects=projects)
