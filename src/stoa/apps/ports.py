"""What workflows and apps ask of their neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from stoa.apps.types import NodeKind, Reading
from stoa.kernel.principal import Principal


class Projects(Protocol):
    """What apps ask of access."""

    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project that a new thing belongs to. Raises BadRequest when it is none of the principal's."""
        ...


class Definitions(Protocol):
    """What apps ask about agents and models."""

    async def checked_agent(self, principal: Principal, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        """The definition as a run reads it. Raises BadRequest naming `flow.agent.…`."""
        ...

    async def unknown_tools(self, principal: Principal, names: Sequence[str]) -> Sequence[str]:
        """Those of the names that are no tool of the principal's project."""
        ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those that are no knowledge base which the principal may use."""
        ...

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]]
    ) -> Sequence[tuple[str, UUID]]:
        """Those of the (kind, id) pairs that the principal does not have. Kinds: memory, memory_store, skill."""
        ...

    async def model(self, principal: Principal, slugs: Sequence[str]) -> UUID | None:
        """The first model of the catalogue that has one of these slugs; without slugs the default one."""
        ...


class Graphs(Protocol):
    """What apps ask of those who run graphs."""

    async def read(self, flow: Mapping[str, Any]) -> Reading:
        """Raises BadRequest that names each bad node."""
        ...

    def node_types(self) -> Sequence[NodeKind]:
        """Those that run."""
        ...
