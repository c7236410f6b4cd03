"""Looks for ids in every table there is. It asks the catalogue for the tables and their columns, not us: what a deletion forgot, it finds.

A column that an index leads to is looked up in it; one without is read through, in tables up to `rows_max` (PostgreSQL's own estimate).
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from stoa.db.engine import Tx
from stoa.db.sql import load

_SQL: Final = load("stoa.db", "rescan.sql")
ROWS_MAX: Final = 200_000
"""About a tenth of a second to read through; beyond that only an operator's scrub does."""
RECEIPTS: Final = ("audit", "deletions")
"""They say what was done and deleted, by id, and hold nothing else of it."""


async def rescan(tx: Tx, org_id: UUID, ids: Sequence[UUID], *, rows_max: int | None = ROWS_MAX) -> Mapping[str, int]:
    """Rows that name any of the ids, by `table.column`; empty when nothing does. Wants a transaction of the internal role."""
    columns = await tx.fetch(_SQL.columns, list(RECEIPTS))
    looks: list[str] = []
    for row in columns:
        if not row["indexed"] and rows_max is not None and row["rows"] > rows_max:
            continue
        scope = "org_id = $1 AND " if row["scoped"] else ""
        match = f"{row['column']} && $2::uuid[]" if row["many"] else f"{row['column']} = ANY ($2::uuid[])"
        looks.append(
            f"SELECT '{row['table']}.{row['column']}' AS place, count(*) AS rows FROM {row['table']} WHERE {scope}{match}"  # noqa: S608
        )
    # $1 is named once more, for the case that no table is scoped.
    found = await tx.fetch(" UNION ALL ".join(looks) + " UNION ALL SELECT '', 0 WHERE $1::uuid IS NULL", org_id, ids)
    return {row["place"]: row["rows"] for row in found if row["rows"]}
