"""What traces need of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project of the request. Raises BadRequest when the principal may not use it."""
        ...


class Apps(Protocol):
    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """The app's project. Raises NotFound."""
        ...


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for one that was stored under another key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...
