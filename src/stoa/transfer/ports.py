"""What exports and imports need of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Organizations(Protocol):
    async def within(self, principal: Principal, org_id: UUID | None, permission: str) -> Principal:
        """The caller in an organization. Raises NotFound and Forbidden."""
        ...

    async def of_project(self, principal: Principal, project_id: UUID, permission: str) -> Principal:
        """The caller in the organization of a project. Raises NotFound and Forbidden."""
        ...
