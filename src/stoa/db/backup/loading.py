"""Loads the tables of a backup into an empty database, in one transaction: all or nothing.

The migrations of the backup create the schema, COPY loads the rows, and foreign keys and indexes are created last, so
that they validate what was loaded. No content of a backup is executed as SQL.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import asyncpg

from stoa.db.backup.reading import LEFT_OUT, SQL, STATEMENT_SECONDS_MAX
from stoa.db.backup.repository import Repository
from stoa.db.backup.types import BackupError, Manifest, Table
from stoa.db.connecting import UnreachableError, connect
from stoa.db.migrate import Migration, SchemaError, build, lock, migrations, prepare

LOCK_SECONDS_MAX: Final = 600.0
_MEMORY: Final = "256MB"
"""For each index that is built."""


async def is_empty(dsn: str) -> bool:
    """Whether no Stoa has used the database yet. Raises BackupError where it cannot be reached."""
    try:
        connection = await connect(dsn, command_seconds_max=60)
    except UnreachableError as error:
        raise BackupError(str(error)) from error
    try:
        return not await connection.fetchval(SQL.has_schema)
    finally:
        await connection.close()


def migrations_of(manifest: Manifest) -> Sequence[Migration]:
    """The migrations that created the schema of the backup. Raises BackupError where this release does not know one of
    them."""
    known = {migration.number: migration for migration in migrations()}
    for one in manifest.schema:
        if one.number not in known:
            raise BackupError(
                f"This backup was made by a newer Stoa ({manifest.stoa}, schema {manifest.schema[-1].number}); this one"
                f" knows schema {max(known)}. Restore it with that version or a later one."
            )
        if known[one.number].sha256 != one.sha256:
            raise BackupError(
                f"This backup holds another version of the migration {one.name} than this Stoa: it was made by an"
                " unreleased build, and that build alone can restore it."
            )
    return [known[one.number] for one in manifest.schema]


async def load(dsn: str, repository: Repository, manifest: Manifest, tell: Callable[[str], None]) -> None:
    """Raises BackupError; the database is then unchanged."""
    wanted = migrations_of(manifest)
    try:
        connection = await connect(dsn, command_seconds_max=STATEMENT_SECONDS_MAX)
    except UnreachableError as error:
        raise BackupError(str(error)) from error
    try:
        await lock(connection, LOCK_SECONDS_MAX)
        await prepare(connection)
        async with connection.transaction():
            await connection.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
                f" SET LOCAL maintenance_work_mem = '{_MEMORY}'; SET LOCAL datestyle = 'ISO, YMD';"
                " SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC'"
            )
            if await connection.fetchval(SQL.has_schema):
                raise BackupError("This database holds a Stoa already. Restore into an empty one.")
            await build(connection, wanted)
            await _fill(connection, repository, manifest, tell)
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.InsufficientResourcesError,
        OSError,
    ) as error:
        raise BackupError(
            f"The database went away, or has no room: {error}. Look at its log and at the room on its disk, then run"
            " the same command again."
        ) from error
    except (SchemaError, asyncpg.PostgresError) as error:
        raise BackupError(f"The database refused: {error}") from error
    finally:
        await connection.close()


async def _fill(
    connection: asyncpg.Connection, repository: Repository, manifest: Manifest, tell: Callable[[str], None]
) -> None:
    await _check_tables(connection, manifest)
    keys = [tuple(row) for row in await connection.fetch(SQL.foreign_keys)]
    for name, table, _ in keys:
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    indexes = [tuple(row) for row in await connection.fetch(SQL.plain_indexes)]
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    for table in manifest.tables:
        tell(f"table {table.name} ({table.rows:,} rows)")
        await _load_table(connection, repository, table)
    for name, definition in indexes:
        tell(f"index {name}")
        await connection.execute(definition)
    for name, table, definition in keys:
        tell(f"references of {table}")
        await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    await connection.execute(SQL.vectors_are_shared)
    for name, value in manifest.sequences.items():
        await connection.fetchval(SQL.set_sequence, name, value)
    tell("statistics")
    for table in manifest.tables:
        await connection.execute(f'ANALYZE "{table.name}"')


async def _check_tables(connection: asyncpg.Connection, manifest: Manifest) -> None:
    """Checks that the new schema has exactly the tables and columns of the backup: names from a manifest become part of
    statements only if they are known."""
    made = {row["name"]: set(row["columns"]) for row in await connection.fetch(SQL.tables)}
    for name in LEFT_OUT:
        made.pop(name, None)
    stored = {table.name: set(table.columns) for table in manifest.tables}
    if made != stored:
        different = sorted(name for name in made.keys() | stored.keys() if made.get(name) != stored.get(name))
        raise BackupError(
            f"The backup's tables are not those of its schema ({', '.join(different)}): it was made by an unreleased"
            " build, or changed."
        )


async def _load_table(connection: asyncpg.Connection, repository: Repository, table: Table) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in table.pieces:
            yield await asyncio.to_thread(repository.get, piece.id, f"rows of {table.name}")

    await connection.execute(f'ALTER TABLE "{table.name}" DISABLE TRIGGER USER')
    await connection.execute(f'TRUNCATE "{table.name}"')  # A few migrations insert rows of their own.
    status = await connection.copy_to_table(
        table.name,
        schema_name="public",
        columns=list(table.columns),
        source=pieces(),
        timeout=STATEMENT_SECONDS_MAX,
    )
    if int(status.split()[1]) != table.rows:
        raise BackupError(f"{table.name} has {status.split()[1]} rows instead of {table.rows}: the backup was changed.")
    await connection.execute(f'ALTER TABLE "{table.name}" ENABLE TRIGGER USER')
