"""An agent's resources besides its tools: notes on its users, skills, artifacts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NotesUse:
    """A memory store with the agent's notes on the run's user."""

    store_id: UUID
    write_enabled: bool = True
    description: str | None = None


@dataclass(frozen=True, slots=True)
class SkillUse:
    """A skill that the agent may read. `version` is the id of a version, or `latest`."""

    skill_id: UUID
    version: str = "latest"


@dataclass(frozen=True, slots=True)
class AgentResources:
    """`artifacts`: whether the agent may publish some."""

    notes: NotesUse | None = None
    skills: Sequence[SkillUse] = ()
    artifacts: bool = False

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> "AgentResources":
        """From a conversation's checked `agent` field."""
        store = definition.get("memory_store")
        skills = definition.get("skills", ())
        return cls(
            NotesUse(UUID(store["id"]), store.get("write_enabled", True)) if store else None,
            [SkillUse(UUID(one["id"]), one.get("version_id", "latest")) for one in skills],
            bool(definition.get("artifacts")),
        )

    def __bool__(self) -> bool:
        return self.notes is not None or bool(self.skills) or self.artifacts
