"""Who is asking. Made once per request from a credential; every tenant transaction is opened in its name."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SpendingLimit:
    """US dollars that a key may spend on models in a calendar day or month (UTC), or altogether (`total`)."""

    usd: float
    period: Literal["day", "month", "total"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An access key's scope: one organization, and one project of it unless the key is organization-wide."""

    org_id: UUID
    project_id: UUID | None
    key_id: UUID
    permissions: frozenset[str] | None = None
    """What the key may do; None is everything its scope allows."""
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per minute."""
    spending_limit: SpendingLimit | None = None

    @property
    def scope(self) -> str:
        """Names the scope in which an Idempotency-Key is unique."""
        return f"{self.org_id}/{self.project_id or '*'}"
