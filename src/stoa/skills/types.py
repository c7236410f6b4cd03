"""Skills and their versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A file of a version's archive. `size` is in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class SkillVersion:
    """`instructions` is empty in lists."""

    id: UUID
    skill_id: UUID
    version: int
    description: str
    instructions: str
    files: Sequence[SkillFile]
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Skill:
    id: UUID
    project_id: UUID
    name: str
    description: str
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    latest: SkillVersion


@dataclass(frozen=True, slots=True)
class NewVersion:
    """The content of a new version. `name` is set if an archive was uploaded."""

    description: str
    instructions: str
    archive: bytes | None = None
    files: Sequence[SkillFile] = ()
    name: str | None = None
