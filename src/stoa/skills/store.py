"""Skills and their versions, between rows and values. Every function takes its transaction as an argument."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.skills.types import NewVersion, Skill, SkillFile, SkillVersion

SQL: Final = load("stoa.skills")


async def insert_version(tx: Tx, principal: Principal, skill_id: UUID, version_id: UUID, new: NewVersion) -> None:
    files = [{"path": one.path, "size": one.size} for one in new.files]
    values = (version_id, new.description, new.instructions, new.archive, files, principal.key_id)
    await tx.execute(SQL.insert_skill_version, principal.org_id, skill_id, *values)


async def skill(tx: Tx, org_id: UUID, skill_id: UUID) -> Skill:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.skill, org_id, skill_id)
    found = await _with_versions(tx, org_id, [row]) if row is not None else ()
    if not found:
        raise no_skill(skill_id)
    return found[0]


async def list_skills(tx: Tx, org_id: UUID, project_id: UUID | None, page: PageRequest) -> tuple[Sequence[Skill], int]:
    query = SQL.list_skills.format(order=page.order_by("name"))
    rows = await tx.fetch(query, org_id, project_id, page.page_size, page.offset)
    return await _with_versions(tx, org_id, rows), await tx.fetchval(SQL.count_skills, org_id, project_id)


async def _with_versions(tx: Tx, org_id: UUID, rows: Sequence[Row]) -> Sequence[Skill]:
    """Leaves out skills that were deleted after their rows were read."""
    newest = {
        row["skill_id"]: version_of(row)
        for row in await tx.fetch(SQL.newest_versions, org_id, [row["id"] for row in rows])
    }
    return [
        Skill(
            row["id"],
            row["project_id"],
            row["name"],
            row["description"],
            row["created_by"],
            row["created_at"],
            row["updated_at"],
            newest[row["id"]],
        )
        for row in rows
        if row["id"] in newest
    ]


async def version(tx: Tx, org_id: UUID, skill_id: UUID, named: UUID | int | None) -> SkillVersion:
    """By id or number; None means the newest. Raises NotFound."""
    by_id = named if isinstance(named, UUID) else None
    by_number = named if isinstance(named, int) else None
    row = await tx.fetchrow(SQL.skill_version, org_id, skill_id, by_id, by_number)
    if row is None:
        raise NotFound(f"The skill {skill_id} has no version {named or 'latest'}.")
    return version_of(row)


def version_of(row: Row) -> SkillVersion:
    return SkillVersion(
        row["id"],
        row["skill_id"],
        row["version"],
        row["description"],
        row["instructions"],
        [SkillFile(one["path"], one["size"]) for one in row["files"]],
        row["created_by"],
        row["created_at"],
    )


def no_skill(skill_id: UUID) -> NotFound:
    return NotFound(f"There is no skill {skill_id}.")
