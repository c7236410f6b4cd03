"""What traces ask of others."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project that is meant. Raises BadRequest when it is none of the principal's."""
        ...
