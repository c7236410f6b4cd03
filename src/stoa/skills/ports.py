"""What skills need of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project of new objects: `project_id` if given, else the key's project, else the organization's first.
        Raises BadRequest naming `project_id` if the principal cannot use it."""
        ...
