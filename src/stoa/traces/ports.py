"""What traces need of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project of the request. Raises BadRequest when the principal may not use it."""
        ...
