"""Searches every table for ids. The tables and columns come from the system catalogue, so a table that a deletion
forgot is searched too.

The scan covers the same columns in a small database and in a large one. Each has an index; a column without one is
scanned sequentially, unless it is in `NAMES_OTHERS`: such a column never has an id that the deletion of a conversation
removes. A test checks that list and the indexes for completeness.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from stoa.db.engine import Tx
from stoa.db.sql import load

_SQL: Final = load("stoa.db", "rescan.sql")
RECEIPTS: Final = ("audit", "deletions", "trace_settings")
"""Tables that record actions, deletions and exports by id, without other data."""
NAMES_OTHERS: Final[Mapping[str, str]] = {
    "*.answered_by": "an access key",
    "*.app_id": "an app",
    "*.archived_by": "an access key or a user",
    "*.connection_id": "a connection",
    "*.created_by": "an access key",
    "*.deployment_id": "a deployment of an app",
    "*.item_id": "an item of a knowledge base",
    "*.key_id": "an access key",
    "*.knowledgebase_id": "a knowledge base",
    "*.latest_deployment_id": "a deployment of an app",
    "*.model_id": "a model",
    "*.node_id": "a node",
    "*.owner_id": "a user",
    "*.paid_by": "an access key",
    "*.requirement_id": "a requirement of a workflow",
    "*.seen_by": "a sync of a source",
    "*.successor_id": "an access key",
    "*.session_id": "a session of an app, as its client names it",
    "*.updated_by": "an access key or a user",
    "conversations.family": "a family of forks: a number of its own, which no row has as its id",
    "input_requests.id": "itself, a question; it goes with its run, which an index leads to",
    "knowledge_chunks.id": "itself, a chunk of a knowledge base",
    "artifacts.store_id": "a group of artifacts, as its client names it",
    "tool_effects.call_id": "a call of a tool; it goes with its run, which an index leads to",
    "tool_calls.id": "itself, a call; it goes with its run, which an index leads to",
}
"""The subjects of columns that no deletion of a conversation removes. `*` is any table."""


async def rescan(tx: Tx, org_id: UUID, ids: Sequence[UUID], *, every_column: bool = False) -> Mapping[str, int]:
    """Rows that name any of the ids, by `table.column`; empty when nothing does. Wants a transaction of the internal
    role.

    `every_column` reads those of NAMES_OTHERS too, which takes time in a large database.
    """
    statements = [
        _statement(row["table"], row["column"], scoped=row["scoped"], many=row["many"])
        for row in await tx.fetch(_SQL.columns, list(RECEIPTS))
        if row["indexed"] or every_column or not names_others(row["table"], row["column"])
    ]
    # $1 is named once more, for the case that no table is scoped.
    statement = " UNION ALL ".join([*statements, "SELECT '', 0 WHERE $1::uuid IS NULL"])
    return {row["column"]: row["rows"] for row in await tx.fetch(statement, org_id, ids) if row["rows"]}


def names_others(table: str, column: str) -> bool:
    return f"{table}.{column}" in NAMES_OTHERS or f"*.{column}" in NAMES_OTHERS


def _statement(table: str, column: str, *, scoped: bool, many: bool) -> str:
    scope = "org_id = $1 AND " if scoped else ""
    match = f"{column} && $2::uuid[]" if many else f"{column} = ANY ($2::uuid[])"
    return f"SELECT '{table}.{column}' AS column, count(*) AS rows FROM {table} WHERE {scope}{match}"  # noqa: S608
