"""A slice's tables in an export of a project, as data. `stoa.transfer` reads and writes them.

Every column is exported unless it is left out here, so that a new column cannot be forgotten; a test checks that no new
table is forgotten (tests/house/test_exported.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stoa.db.blobs import Blobs

NODE: Final = "belongs to a node of the server that was left"
SECRET: Final = "is a secret, sealed with the key of the server that was left"  # noqa: S105 — a reason, no secret
"""Reasons that several tables give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One table with org_id, project_id and a primary key.

    In `rows` and `on_import` the table's row is called `t`. On import its columns are what the file says, already of
    their types, and three names stand for the importing side: `{actor}` is the id of the key or user who imports,
    `{actor_is_user}` whether it is a user, `{owner}` the owner of what has none here, `{org}` the organization.
    A column that the file lacks, because an older release wrote it, is NULL.
    """

    table: str
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns that are not exported, and why. On import they get their defaults."""
    rows: str = "true"
    """SQL: which rows are exported."""
    on_import: Mapping[str, str] = field(default_factory=dict[str, str])
    """Column → SQL for its value on import, where that is not what the file says."""
    renumbered: str | None = None
    """A column whose numbers the importing database gives anew."""
    follows: Mapping[str, str] = field(default_factory=dict[str, str])
    """Column → the table whose renumbered column it names."""
    contents: Mapping[str, Blobs] = field(default_factory=dict[str, Blobs])
    """Column of SHA-256 → where the content is stored."""
    to_fill_in: str | None = None
    """SQL: what its owner has to fill in after the import (a text, or NULL); over the exported row."""


OWNER: Final = (
    "CASE WHEN t.owner_id IS NULL OR EXISTS (SELECT FROM org_members m WHERE m.org_id = {org} AND m.user_id ="
    " t.owner_id) THEN t.owner_id ELSE {owner} END"
)
"""The owner, where it is a member of the importing organization too; else whoever imports."""
