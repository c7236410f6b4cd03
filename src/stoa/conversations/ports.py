"""What conversations ask of others."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from stoa.db import Tx
from stoa.kernel.principal import Principal


class Models(Protocol):
    """What conversations ask of the gateway."""

    async def id_of(self, tx: Tx, name: UUID | str) -> UUID:
        """The id of a model that is named by its id or its slug. Raises BadRequest naming `model_id` for an unknown
        slug."""
        ...

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` when whose transaction this is may not use it."""
        ...


class Agents(Protocol):
    """What conversations ask about what agents may call."""

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]:
        """Those of the names that are no tool of the principal's."""
        ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]:
        """Those of the ids that are no knowledge base of the principal's."""
        ...

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]], /
    ) -> Sequence[tuple[str, UUID]]:
        """Those of the (kind, id) pairs that the principal does not have. Kinds: memory, memory_store, skill."""
        ...


class Apps(Protocol):
    """What conversations ask of apps."""

    async def home(self, principal: Principal, app_id: UUID) -> UUID:
        """The project of an app that takes messages. Raises BadRequest naming `app_id` where there is none."""
        ...

    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """Raises NotFound."""
        ...


class Projects(Protocol):
    """What conversations ask of access."""

    async def home(self, principal: Principal) -> UUID:
        """The project that new things of this principal belong to: the key's own, or the organization's first."""
        ...
