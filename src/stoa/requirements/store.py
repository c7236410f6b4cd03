"""Requirements, between rows and values."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.errors import NotFound
from stoa.requirements.types import Requirement, RequirementState, RequirementType

SQL: Final = load("stoa.requirements")


async def held(tx: Tx, org_id: UUID, app_id: UUID, user_id: str | None) -> Sequence[RequirementState]:
    """The app's requirements in order, with what this end user has connected for each."""
    return [
        RequirementState(value(row), row["connection_id"], row["connection_secret"], row["connection_expires_at"])
        for row in await tx.fetch(SQL.held, org_id, app_id, user_id)
    ]


async def requirement(tx: Tx, org_id: UUID, workflow_id: UUID, requirement_id: UUID) -> Requirement:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.requirement, org_id, workflow_id, requirement_id)
    if row is None:
        raise no_requirement(requirement_id)
    return value(row)


def no_requirement(requirement_id: UUID) -> NotFound:
    return NotFound(f"There is no requirement {requirement_id}.")


def value(row: Row) -> Requirement:
    return Requirement(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["workflow_id"],
        row["name"],
        RequirementType(row["type"]),
        row["title"],
        row["description"],
        row["spec"],
        row["secret"],
        row["optional"],
        row["created_by"],
        row["created_at"],
        row["updated_at"],
    )
