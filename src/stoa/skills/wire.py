"""The JSON shapes of skills (contract section 6)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank
from stoa.skills import rules
from stoa.skills.types import NewVersion, Skill, SkillVersion


def _name(name: str) -> str:
    if problem := rules.name_problem(name):
        raise ValueError(problem)
    return name


Name = Annotated[str, AfterValidator(_name)]
Description = Annotated[str, Field(max_length=rules.DESCRIPTION_CHARACTERS_MAX), AfterValidator(not_blank)]
Instructions = Annotated[str, Field(max_length=rules.INSTRUCTIONS_CHARACTERS_MAX), AfterValidator(not_blank)]


# --- in -------------------------------------------------------------------------------------------------------------
class CreateSkill(Body):
    """`description` says when to use it: an agent reads it to decide whether to open the skill at all."""

    example: ClassVar[Mapping[str, Any]] = {
        "name": "refunds",
        "description": "Use when a customer asks for their money back.",
        "instructions": "Ask for the order number first.",
    }

    name: Name
    description: Description
    instructions: Instructions
    project_id: UUID | None = None


class UpdateSkill(Body):
    """Only what is sent changes; what is read of a version stays as it is."""

    example: ClassVar[Mapping[str, Any]] = {"description": "Use when somebody asks for a refund."}

    name: Name | None = None
    description: Description | None = None


class CreateSkillVersion(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "description": "Use when a customer asks for their money back.",
        "instructions": "Ask for the order number, then for the reason.",
    }

    description: Description
    instructions: Instructions


class ImportSkill(Body):
    example: ClassVar[Mapping[str, Any]] = {"github_url": "https://github.com/example/skills"}

    github_url: Annotated[str, Field(max_length=2_000)]
    project_id: UUID | None = None


def new_version(body: CreateSkill | CreateSkillVersion) -> NewVersion:
    return NewVersion(body.description, body.instructions)


# --- out ------------------------------------------------------------------------------------------------------------
class SkillFileWire(Wire):
    path: str
    size: int


class SkillVersionWire(Wire):
    """`files` are those of an uploaded archive."""

    id: UUID
    skill_id: UUID
    version: int
    description: str
    files: Sequence[SkillFileWire]
    created_by: UUID | None
    created_at: Timestamp


class SkillWire(Wire):
    id: UUID
    name: str
    description: str
    project_id: UUID
    latest_version_id: UUID
    latest_version: SkillVersionWire
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class InstructionsWire(Wire):
    """Without an envelope: the platform's clients read it so."""

    instructions: str
    metadata: Mapping[str, Any]


def version(value: SkillVersion) -> SkillVersionWire:
    return SkillVersionWire(
        id=value.id,
        skill_id=value.skill_id,
        version=value.version,
        description=value.description,
        files=[SkillFileWire(path=one.path, size=one.size) for one in value.files],
        created_by=value.created_by,
        created_at=value.created_at,
    )


def skill(value: Skill) -> SkillWire:
    return SkillWire(
        id=value.id,
        name=value.name,
        description=value.description,
        project_id=value.project_id,
        latest_version_id=value.latest.id,
        latest_version=version(value.latest),
        created_by=value.created_by,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def instructions(held: Skill, value: SkillVersion) -> InstructionsWire:
    about = {"name": held.name, "description": value.description, "version": value.version, "id": str(value.id)}
    return InstructionsWire(instructions=value.instructions, metadata=about)
