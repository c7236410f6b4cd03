"""Pages of long lists: the ids of a page and the length of the list, from the database function `page_of_list`
(migration 0027).

The function runs as the owner of the tables and filters by the caller's organization and project itself; the caller of
this module reads the rows of these ids in its own transaction, under row-level security.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from stoa.db.engine import Row, Tx
from stoa.db.sql import load
from stoa.kernel.pages import COUNT_MAX, Cursor, PageRequest

_SQL: Final = load("stoa.db", "lists.sql")
NEWEST: Final = ("created_at", True)
"""How these lists are sorted unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Found:
    ids: Sequence[UUID]
    total: int
    estimated: bool


async def page_ids(
    tx: Tx,
    name: str,
    page: PageRequest,
    filters: Mapping[str, Sequence[str] | UUID | str | None],
    columns: Mapping[str, type[datetime | int]],
    query: str | None = None,
) -> Found:
    """`filters` by column; None is any. `columns` are those that support cursors. `query` is a to_tsquery
    expression. Raises BadRequest."""
    after = page.after(NEWEST, columns)
    if any(isinstance(value, str) and "\x00" in value for value in filters.values()):
        return Found((), 0, estimated=False)  # PostgreSQL's text holds no NUL, so no row matches.
    asked = {
        "list": name,
        "filters": {column: _values(value) for column, value in filters.items() if value is not None},
        "order": page.sort or (NEWEST,),
        "after": {"value": str(after.value), "id": after.id} if after else None,
        "offset": 0 if after else page.offset,
        "limit": page.page_size,
        "query": query,
        "count_max": COUNT_MAX,
    }
    row = await tx.fetchrow(_SQL.page_of_list, asked)
    assert row is not None
    return Found(row["ids"], row["total"], row["estimated"])


def next_cursor(page: PageRequest, columns: Mapping[str, type[datetime | int]], rows: Sequence[Row]) -> str | None:
    """The cursor of the next page; None after the last page, and where the list is sorted by a column that cursors do
    not support."""
    column = page.column(NEWEST)
    if len(rows) < page.page_size or column is None or column[0] not in columns:
        return None
    return Cursor(*column, rows[-1][column[0]], rows[-1]["id"]).encode()


def _values(value: Sequence[str] | UUID | str) -> Sequence[str]:
    return [str(value)] if isinstance(value, str | UUID) else value
