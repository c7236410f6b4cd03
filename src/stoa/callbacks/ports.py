"""What callbacks need of their neighbours."""

from typing import Protocol
from uuid import UUID

from stoa.callbacks.types import Report


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for one that was stored under another key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Reports(Protocol):
    """What there is to say about runs."""

    async def report(self, org_id: UUID, run_id: UUID) -> Report | None:
        """None for a run that is gone, or has not ended."""
        ...
