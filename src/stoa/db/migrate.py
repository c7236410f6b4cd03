"""Brings a database to this version's schema: numbered `.sql` files, each in one transaction, under one lock.

Ten nodes may start at once: the first to get the lock migrates, the others find nothing to do.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

import asyncpg

from stoa.db.engine import TENANT_ROLE
from stoa.db.reaching import UnreachableError, connect

LOCK: Final = 0x53746F61  # "Stoa"
_FILE: Final = re.compile(r"^(\d{4})_\w+\.sql$")
POSTGRES_VERSION_MIN: Final = 160_000


class SchemaError(Exception):
    """The database cannot be used as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    found: list[Migration] = []
    for file in resources.files("stoa.db.migrations").iterdir():
        match = _FILE.match(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name.removesuffix(".sql"), file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(dsn: str, *, lock_seconds_max: float = 120.0) -> list[str]:
    """Applies what is missing and gives the names of what was applied. Raises SchemaError."""
    try:
        connection = await connect(dsn, command_seconds_max=600)
    except UnreachableError as error:
        raise SchemaError(str(error)) from error
    try:
        await _check_server(connection)
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=lock_seconds_max)
        await _ensure_tenant_role(connection)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS stoa_migrations"
            " (number int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = {
            row["number"]: row for row in await connection.fetch("SELECT number, name, sha256 FROM stoa_migrations")
        }
        known = migrations()
        newest = max(applied, default=0)
        if newest > known[-1].number:
            raise SchemaError(
                f"This database was migrated by a newer Stoa (schema {newest}; this version knows {known[-1].number})."
                " Start the newer version, or use another database."
            )
        done: list[str] = []
        for migration in known:
            if migration.number in applied:
                if applied[migration.number]["sha256"] != migration.sha256:
                    raise SchemaError(
                        f"The database holds another version of the migration {migration.name} than this one."
                        " It was made by an unreleased build; use a fresh database."
                    )
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO stoa_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.sha256,
                )
            done.append(migration.name)
        return done
    finally:
        await connection.close()


async def _check_server(connection: asyncpg.Connection) -> None:
    version = int(str(await connection.fetchval("SHOW server_version_num")))
    if version < POSTGRES_VERSION_MIN:
        raise SchemaError(
            f"Stoa needs PostgreSQL 16 or newer; this server is {version // 10_000}. Point STOA_DATABASE_URL at a newer one."
        )
    if not await connection.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
        raise SchemaError(
            "This PostgreSQL has no pgvector. Install the extension 'vector' on the server, then start Stoa again."
        )
    if await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
        return
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(
            "Stoa's database user may not create the extension 'vector'. As a superuser run: CREATE EXTENSION vector;"
        ) from error
    except asyncpg.UniqueViolationError:
        pass  # Another node was faster by a moment.


async def _ensure_tenant_role(connection: asyncpg.Connection) -> None:
    """The role that requests run under: owns nothing, cannot log in, cannot bypass row-level security."""
    row = await connection.fetchrow(
        "SELECT rolsuper OR rolbypassrls AS bypasses, pg_has_role(current_user, oid, 'SET') AS may_set FROM pg_roles WHERE rolname = $1",
        TENANT_ROLE,
    )
    try:
        if row is None:
            await connection.execute(
                f"CREATE ROLE {TENANT_ROLE} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
            )
        elif row["bypasses"]:
            raise SchemaError(
                f"The role {TENANT_ROLE} can bypass row-level security. Run: ALTER ROLE {TENANT_ROLE} NOSUPERUSER NOBYPASSRLS;"
            )
        if row is None or not row["may_set"]:
            await connection.execute(f"GRANT {TENANT_ROLE} TO CURRENT_USER")
    except asyncpg.DuplicateObjectError:
        pass  # Made by a node on another database of the same server at this moment.
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(
            f"Stoa's database user may not create the role {TENANT_ROLE}. As a superuser run:"
            f" CREATE ROLE {TENANT_ROLE} NOLOGIN; GRANT {TENANT_ROLE} TO <stoa's user>;"
        ) from error
