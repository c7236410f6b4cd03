"""The ports of workflows and apps."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from stoa.apps.types import NodeKind, Reading
from stoa.kernel.principal import Principal


class Projects(Protocol):
    """The port for access."""

    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project of a new object. Raises BadRequest for a project outside of the principal's scope."""
        ...


class Definitions(Protocol):
    """The port for agents and models."""

    async def checked_agent(self, principal: Principal, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        """The checked definition. Raises BadRequest naming `flow.agent.…`."""
        ...

    async def unknown_tools(self, principal: Principal, names: Sequence[str]) -> Sequence[str]:
        """The names that are not a tool of the principal's project."""
        ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID]) -> Sequence[UUID]:
        """The ids that are not a knowledge base of the principal."""
        ...

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]]
    ) -> Sequence[tuple[str, UUID]]:
        """The (kind, id) pairs that the principal does not have. Kinds: memory, memory_store, skill."""
        ...

    async def model(self, principal: Principal, slugs: Sequence[str]) -> UUID | None:
        """The first model of the catalogue that has one of these slugs; without slugs the default one."""
        ...


class Graphs(Protocol):
    """The port for graphs."""

    async def read(self, flow: Mapping[str, Any]) -> Reading:
        """Raises BadRequest that names each bad node."""
        ...

    def node_types(self) -> Sequence[NodeKind]:
        """Those that run."""
        ...
