"""Checks whether the database could store a message now, without storing one, for `GET /ready`.

`SELECT 1` also succeeds if the database is read-only, rights were revoked, or another session keeps the tables locked.
"""

from contextlib import suppress
from typing import Final

import asyncpg

from stoa.db.engine import TENANT_ROLE, Database
from stoa.db.sql import load
from stoa.kernel.errors import DatabaseUnavailable

_SQL: Final = load("stoa.db", "readiness.sql")
LOCK_SECONDS_MAX: Final = 1.5
"""How long the tables of a message may be locked before a node counts as not ready. Migrations hold their locks for
less."""
_OPENING: Final = f"BEGIN; SET LOCAL ROLE {TENANT_ROLE}"
_PATIENCE: Final = f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"


async def check_storable(database: Database) -> None:
    """Raises DatabaseUnavailable if the database does not answer, is read-only, lacks rights or disk space, or if
    another session keeps its tables locked. The message says which, and what to do."""
    if database.out_of_room:
        await _check_room(database)
    try:
        async with database.transaction(_OPENING) as tx:
            refusal: str | None = await tx.fetchval(_SQL.refusal)
            if refusal is not None:
                raise DatabaseUnavailable(refusal)
            await tx.execute(f"{_PATIENCE}; {_SQL.lock_tables_of_a_message}")
    except asyncpg.LockNotAvailableError:
        async with database.transaction("BEGIN") as tx:
            holder = await tx.fetchrow(_SQL.holders)
        raise DatabaseUnavailable(
            "A session of the database keeps a table locked, and messages wait for it."
            if holder is None
            else f"Session {holder['pid']} of the database keeps the table {holder['name']} locked, and messages wait"
            f" for it. End it there, or with SELECT pg_terminate_backend({holder['pid']})."
        ) from None


async def _check_room(database: Database) -> None:
    # A user who may not create temporary tables cannot check this; the next message does.
    with suppress(asyncpg.InsufficientPrivilegeError):
        async with database.connection() as connection, connection.transaction():
            await connection.execute(_SQL.take_room)
    database.out_of_room = False
