"""The ports of conversations."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from stoa.db import Tx
from stoa.kernel.principal import Principal


class Models(Protocol):
    """The port for the gateway."""

    async def id_of(self, tx: Tx, name: UUID | str) -> UUID:
        """The id of a model that is named by its id or its slug. Raises BadRequest naming `model_id` for an unknown
        slug."""
        ...

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` if the transaction's tenant may not use it."""
        ...


class Agents(Protocol):
    """The port for tools, knowledge bases and resources of agents."""

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]:
        """The names that are not a tool of the principal."""
        ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]:
        """The ids that are not a knowledge base of the principal."""
        ...

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]], /
    ) -> Sequence[tuple[str, UUID]]:
        """The (kind, id) pairs that the principal does not have. Kinds: memory, memory_store, skill."""
        ...


class Apps(Protocol):
    """The port for apps."""

    async def home(self, principal: Principal, app_id: UUID) -> UUID:
        """The project of an app that takes messages. Raises BadRequest naming `app_id` where there is none."""
        ...

    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """Raises NotFound."""
        ...


class Projects(Protocol):
    """The port for access."""

    async def home(self, principal: Principal) -> UUID:
        """The project for new objects of this principal: the key's own, or the organization's first."""
        ...
