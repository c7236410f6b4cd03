"""Who is asking. Made once per request from a credential; every tenant transaction is opened in its name."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID


class CredentialKind(StrEnum):
    ACCESS_KEY = "access_key"
    PERSONAL_TOKEN = "personal_token"  # noqa: S105 — a kind, no secret
    CONNECT_TOKEN = "connect_token"  # noqa: S105 — the same


@dataclass(frozen=True, slots=True)
class SpendingLimit:
    """US dollars that a key may spend on models in a calendar day or month (UTC), or altogether (`total`)."""

    usd: float
    period: Literal["day", "month", "total"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A credential's scope: one organization, and one project of it unless the credential is organization-wide."""

    org_id: UUID
    project_id: UUID | None
    key_id: UUID
    permissions: frozenset[str] | None = None
    """What the key may do; None is everything its scope allows."""
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per minute."""
    spending_limit: SpendingLimit | None = None
    credential: CredentialKind = CredentialKind.ACCESS_KEY

    @property
    def scope(self) -> str:
        """Names the scope in which an Idempotency-Key is unique."""
        return f"{self.org_id}/{self.project_id or '*'}"
