"""What memory needs of other slices."""

from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project that new things belong to: the one that is named, the key's own, or the organization's first.
        Raises BadRequest naming `project_id` when it is none of the principal's."""
        ...
