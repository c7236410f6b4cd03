"""Reads a database as it was at one moment: one transaction, one connection, COPY. Works on any PostgreSQL that Stoa
runs on, managed ones included: it needs neither a superuser nor replication nor PostgreSQL's programs.

Nothing waits for it: COPY takes the lock of a SELECT, and a migration, the only statement that would have to wait, does
not start. Old row versions stay until it ends, as with any long transaction.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from stoa.db.backup.splitting import Splitter
from stoa.db.backup.types import BackupError, Migrated, Piece, Table
from stoa.db.connecting import UnreachableError, connect
from stoa.db.migrate import LOCK, LOCK_POLL_SECONDS, migrations
from stoa.db.sql import load

SQL: Final = load("stoa.db.backup")
STATEMENT_SECONDS_MAX: Final = 24 * 3600.0
MIGRATION_SECONDS_MAX: Final = 600.0
LEFT_OUT: Final[Mapping[str, str]] = {
    "stoa_migrations": "the manifest names them",
    "doctor_spans": "days that the doctor has found whole: it looks at a restored database from the beginning",
    "key_rates": "counts of the last seconds (unlogged)",
}
"""Tables that are not in a backup, and why."""
CONTENTS: Final = (
    ("blobs", "files", "sha256"),
    ("knowledge", "knowledge_items", "sha256"),
    ("knowledge", "knowledge_items", "served_sha256"),
    ("artifacts", "artifact_versions", "sha256"),
)
"""The columns that name files: the directory below the data directory, the table, the column."""
_CREATED: Final = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)")

Put = Callable[[bytes], Awaitable[Awaitable[Piece]]]
"""Accepts a piece for storing; awaiting the result returns the stored piece."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open transaction, whose snapshot is one moment."""

    connection: asyncpg.Connection
    schema: Sequence[Migrated]
    postgres: str

    async def content_names(self) -> AsyncIterator[str]:
        """The names of all files that rows name, each once, sorted."""
        if named := await self._named():
            async for row in self.connection.cursor(f'{named} ORDER BY name COLLATE "C"', prefetch=1_000):
                yield row["name"]

    async def _named(self) -> str:
        """The query for all names; columns that this schema does not have yet are skipped."""
        parts = [
            SQL.contents_of.format(directory=directory, table=table, column=column)
            for directory, table, column in CONTENTS
            if await self.connection.fetchval(SQL.has_column, table, column)
        ]
        return SQL.all_names.format(names=" UNION ".join(parts)) if parts else ""

    async def tables(self) -> Sequence[tuple[str, Sequence[str], bool]]:
        """(name, columns, whether child tables have some of its rows) of Stoa's tables."""
        ours = {name for migration in migrations() for name in _CREATED.findall(migration.sql)} - LEFT_OUT.keys()
        rows = await self.connection.fetch(SQL.tables)
        return [(row["name"], row["columns"], row["parent"]) for row in rows if row["name"] in ours]

    async def copy(self, name: str, columns: Sequence[str], put: Put, *, parent: bool) -> Table:
        splitter, pieces = Splitter(), list[Awaitable[Piece]]()

        async def take(rows: bytes) -> None:
            for piece in splitter.feed(rows):
                pieces.append(await put(piece))

        if parent:
            listed = ", ".join(f'"{column}"' for column in columns)
            query = SQL.rows_with_children.format(columns=listed, table=f'"{name}"')
            status = await self.connection.copy_from_query(query, output=take, timeout=STATEMENT_SECONDS_MAX)
        else:
            status = await self.connection.copy_from_table(
                name, schema_name="public", columns=list(columns), output=take, timeout=STATEMENT_SECONDS_MAX
            )
        for piece in splitter.end():
            pieces.append(await put(piece))
        return Table(name, columns, int(status.split()[1]), [await piece for piece in pieces])

    async def sequences(self) -> Mapping[str, int]:
        rows = await self.connection.fetch(SQL.sequences)
        return {row["name"]: row["last_value"] for row in rows if row["last_value"] is not None}


async def names_content(connection: asyncpg.Connection, name: str) -> bool:
    """Whether a row names this file now (not in the snapshot)."""
    found, org_id, project_id, digest = name.split("/")
    key = UUID(org_id), UUID(project_id), bytes.fromhex(digest)
    for directory, table, column in CONTENTS:
        if directory != found or not await connection.fetchval(SQL.has_column, table, column):
            continue
        if await connection.fetchval(SQL.names_content.format(table=table, column=column), *key):
            return True
    return False


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncGenerator[Snapshot]:
    """Raises BackupError where the database cannot be reached or has no schema of Stoa."""
    try:
        connection = await connect(dsn, command_seconds_max=STATEMENT_SECONDS_MAX)
    except UnreachableError as error:
        raise BackupError(str(error)) from error
    try:
        if not await connection.fetchval(SQL.has_schema):
            raise BackupError("This database holds no Stoa: there is nothing to back up.")
        vectors = bool(await connection.fetchval(SQL.has_vectors))
        deadline = time.monotonic() + MIGRATION_SECONDS_MAX
        while True:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if await _begin(connection, vectors=vectors):
                    schema = [Migrated(**row) for row in await connection.fetch(SQL.applied)]
                    if schema == await _applied(dsn):  # No migration was committed between the snapshot and the lock.
                        yield Snapshot(connection, schema, str(await connection.fetchval("SHOW server_version")))
                        return
            if time.monotonic() > deadline:
                raise BackupError(
                    f"This database has been migrated for {MIGRATION_SECONDS_MAX:.0f} seconds; try again afterwards."
                )
            await asyncio.sleep(LOCK_POLL_SECONDS)
    finally:
        await connection.close()


async def _begin(connection: asyncpg.Connection, *, vectors: bool) -> bool:
    """False while a migration is running."""
    # LOCK TABLE takes no snapshot. So the tables of vectors are locked before the snapshot is taken, and maintenance
    # drops no table that is locked.
    await connection.execute(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
        " SET LOCAL idle_in_transaction_session_timeout = 0;"
        " SET LOCAL synchronize_seqscans = off; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';"
        " SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC';"
        " SET LOCAL row_security = off"
    )
    if vectors:
        await connection.execute("LOCK TABLE knowledge_vectors IN ACCESS SHARE MODE")
    return bool(await connection.fetchval(SQL.lock_migrations, LOCK))


async def _applied(dsn: str) -> Sequence[Migrated]:
    """The applied migrations, as of now."""
    connection = await connect(dsn, command_seconds_max=60)
    try:
        return [Migrated(**row) for row in await connection.fetch(SQL.applied)]
    finally:
        await connection.close()
