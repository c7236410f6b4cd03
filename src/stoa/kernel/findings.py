"""One broken promise, as whoever looks for them finds it."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """Whose, of what (an id, or a blob's name), and in which way."""

    org_id: UUID
    subject: str
    detail: str
