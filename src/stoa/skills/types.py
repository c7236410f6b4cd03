"""Skills and their versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A file of a version's archive. `size` in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class SkillVersion:
    """`instructions` are empty in lists."""

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
    """What a version is made of; `name` is known of an uploaded one."""

    description: str
    instructions: str
    archive: bytes | None = None
    files: Sequence[SkillFile] = ()
    name: str | None = None
