"""What callbacks need of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.callbacks.types import Report


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError if another key encrypted the secret."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Reports(Protocol):
    """Reads the outcome of runs."""

    async def report(self, org_id: UUID, run_id: UUID) -> Report | None:
        """None if the run was deleted or has not ended."""
        ...
