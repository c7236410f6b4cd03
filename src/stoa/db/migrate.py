"""Brings a database to this version's schema: numbered `.sql` files, under one lock.

Each file is one transaction. A file that begins with `-- outside a transaction` is not: its statements run one by one,
so that indexes of large tables can be built CONCURRENTLY, without a lock that stops writers. Each of them must be
repeatable: if a start is killed in between, the next one runs the whole file again, after dropping the invalid index of
a killed build. Ten nodes may start at once: the first to get the lock migrates, the others find
nothing to do.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import asyncpg

from stoa.db.connecting import SESSION_URL, URL, UnreachableError, first
from stoa.db.engine import SESSION, TENANT_ROLE
from stoa.db.poolers import PoolerError, check_same_database, check_session

LOCK: Final = 0x53746F61  # "Stoa"
LOCK_POLL_SECONDS: Final = 0.05
LOCK_WAIT_MILLISECONDS_MAX: Final = 150
"""The lock timeout of a migration, because other sessions queue behind its lock request."""
HELD_SECONDS: Final = 0.2
HELD_GROWTH: Final = 1.5
"""The time limit of the first attempt at a migration, and so of its locks, for example while it waits for the next
lock. Then it is rolled back, and the next attempt gets this factor longer. Most succeed in the first."""
LOCK_RETRY_SECONDS: Final = (0.1, 1.0)
TABLE_SECONDS_MAX: Final = 600.0
INDEX_SECONDS_MAX: Final = 24 * 3600.0
"""For one index of a large table. Only this node's start waits for it."""
OUTSIDE_A_TRANSACTION: Final = "-- outside a transaction\n"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS stoa_migrations (
    number int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""
_FILE: Final = re.compile(r"^(\d{4})_\w+\.sql$")
_BUILT: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)")
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

    @property
    def outside(self) -> bool:
        """Whether its statements run one by one, without a transaction around them."""
        return self.sql.startswith(OUTSIDE_A_TRANSACTION)

    @property
    def statements(self) -> list[str]:
        """Of a file that runs outside a transaction; it holds no semicolon but those at the ends of its statements."""
        lines = (line for line in self.sql.splitlines() if not line.startswith("--"))
        return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def migrations() -> list[Migration]:
    found: list[Migration] = []
    for file in resources.files("stoa.db.migrations").iterdir():
        match = _FILE.match(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name.removesuffix(".sql"), file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(dsn: str, *, session_dsn: str | None = None, lock_seconds_max: float = 600.0) -> list[str]:
    """Applies the missing migrations and returns their names. Raises SchemaError.

    `session_dsn` bypasses the pooler of `dsn`.
    """
    setting = URL if session_dsn is None else SESSION_URL
    try:
        connection = await first(session_dsn or dsn, command_seconds_max=600, setting=setting)
        try:
            await check_session(connection, session_dsn or dsn, setting)
            if session_dsn is not None:
                await check_same_database(dsn, connection)
            await connection.execute(SESSION)
            return await _migrate(connection, lock_seconds_max)
        finally:
            await connection.close()
    except (UnreachableError, PoolerError) as error:
        raise SchemaError(str(error)) from error


async def _migrate(connection: asyncpg.Connection, lock_seconds_max: float) -> list[str]:
    await _check_server(connection)
    try:
        if not await missing_from(connection):  # Without the lock: a start need not wait for a backup that holds it.
            await _ensure_tenant_role(connection)
            await _check_owner(connection)
            return []
        await lock(connection, lock_seconds_max)
        await _ensure_tenant_role(connection)
        applied, missing = await applied_to(connection), await missing_from(connection)
        await connection.execute(_TABLE)
        for migration in missing:
            await _apply(connection, migration, fresh=not applied)
        await _check_owner(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(await _owning(connection, str(error))) from error
    return [migration.name for migration in missing]


async def _check_owner(connection: asyncpg.Connection) -> None:
    """Raises SchemaError if this user does not own the tables, because row-level security would then hide every row."""
    if await connection.fetchval("SELECT row_security_active('orgs')"):
        raise SchemaError(await _owning(connection, "row-level security hides every row from it"))


async def _owning(connection: asyncpg.Connection, reason: str) -> str:
    row = await connection.fetchrow("SELECT quote_ident(current_user) AS me, quote_ident(current_database()) AS here")
    assert row is not None
    return (
        f"Stoa's database user {row['me']} must own its tables and may create more: {reason.rstrip('.')}. As the owner"
        f" of the database run: ALTER DATABASE {row['here']} OWNER TO {row['me']}; and where tables are there already:"
        f" REASSIGN OWNED BY <who owns them> TO {row['me']};"
    )


async def prepare(connection: asyncpg.Connection) -> None:
    """Prepares an empty database for its first table. Call with the lock. Raises SchemaError."""
    await _check_server(connection)
    await _ensure_tenant_role(connection)


async def build(connection: asyncpg.Connection, wanted: Sequence[Migration]) -> None:
    """Makes the schema that these migrations make together, in an empty database and in the caller's transaction."""
    await connection.execute(_TABLE)
    for migration in wanted:
        await _apply(connection, migration, fresh=True)


async def applied_to(connection: asyncpg.Connection) -> Mapping[int, str]:
    """The SHA-256 of each migration that the database has seen, by number; none where it is empty."""
    if not await connection.fetchval("SELECT to_regclass('stoa_migrations') IS NOT NULL"):
        return {}
    rows = await connection.fetch("SELECT number, sha256 FROM stoa_migrations")
    return {row["number"]: row["sha256"] for row in rows}


async def missing_from(connection: asyncpg.Connection) -> Sequence[Migration]:
    """Raises SchemaError for a database that this version cannot use."""
    applied, known = await applied_to(connection), migrations()
    _check_applied(applied, known)
    return [migration for migration in known if migration.number not in applied]


async def lock(connection: asyncpg.Connection, seconds_max: float) -> None:
    """Polls, because a statement that waits for the lock keeps a snapshot open, for which CREATE INDEX CONCURRENTLY
    would wait."""
    try:
        async with asyncio.timeout(seconds_max):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110
                await asyncio.sleep(LOCK_POLL_SECONDS)
    except TimeoutError:
        raise SchemaError(
            f"For {seconds_max:.0f} seconds another node has been migrating this database, or a backup of it has been"
            " under way. Let that finish, then start this one."
        ) from None


def _check_applied(applied: Mapping[int, str], known: Sequence[Migration]) -> None:
    """`applied` gives the SHA-256 of each migration that the database has seen. Raises SchemaError."""
    newest = max(applied, default=0)
    if newest > known[-1].number:
        raise SchemaError(
            f"This database was migrated by a newer Stoa (schema {newest}; this version knows {known[-1].number})."
            " Start the newer version, or use another database."
        )
    for migration in known:
        if applied.get(migration.number, migration.sha256) != migration.sha256:
            raise SchemaError(
                f"The database holds another version of the migration {migration.name} than this one."
                " It was made by an unreleased build; use a fresh database."
            )


async def _apply(connection: asyncpg.Connection, migration: Migration, *, fresh: bool) -> None:
    """`fresh`: nobody else uses the database yet, so indexes are built under a lock, which is faster."""
    if migration.outside and not fresh:
        for statement in migration.statements:
            if built := _BUILT.match(statement):
                await _drop_invalid(connection, built[1])
            await connection.execute(statement, timeout=INDEX_SECONDS_MAX)
        await _record(connection, migration)
        return
    if not fresh:
        await _apply_beside_others(connection, migration)
        return
    async with connection.transaction():
        await connection.execute(migration.sql.replace(" CONCURRENTLY", "") if migration.outside else migration.sql)
        await _record(connection, migration)


async def _apply_beside_others(connection: asyncpg.Connection, migration: Migration) -> None:
    """Applies a migration with a short lock timeout and retries, because all later sessions, even readers, would queue
    behind a waiting lock request. An attempt that takes long while it has locks is rolled back too."""
    deadline, budget = time.monotonic() + TABLE_SECONDS_MAX, HELD_SECONDS
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_MILLISECONDS_MAX}ms'")
                await connection.execute(migration.sql, timeout=budget)
                await _record(connection, migration)
        except TimeoutError:
            budget = min(budget * HELD_GROWTH, TABLE_SECONDS_MAX)
        except asyncpg.LockNotAvailableError as error:
            if time.monotonic() > deadline:
                raise SchemaError(
                    f"The migration {migration.name} has found no moment in {TABLE_SECONDS_MAX:.0f} seconds in which no"
                    f" transaction held its tables ({error}). Look at pg_stat_activity for transactions that are open"
                    " for long, end them, then start again."
                ) from error
        else:
            return
        await asyncio.sleep(random.uniform(*LOCK_RETRY_SECONDS))  # noqa: S311 — guards nothing


async def _drop_invalid(connection: asyncpg.Connection, index: str) -> None:
    """Drops the invalid index of a killed build, which `IF NOT EXISTS` would accept as the index."""
    if await connection.fetchval("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", index):
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


async def _record(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO stoa_migrations (number, name, sha256) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.sha256,
    )
    if await connection.fetchval("SELECT to_regproc('widen_policies') IS NOT NULL"):
        await connection.execute("SELECT widen_policies()")  # Of tables that this migration has made (0036).


async def _check_server(connection: asyncpg.Connection) -> None:
    version = int(str(await connection.fetchval("SHOW server_version_num")))
    if version < POSTGRES_VERSION_MIN:
        raise SchemaError(
            f"Stoa needs PostgreSQL 16 or newer; this server is {version // 10_000}. Point STOA_DATABASE_URL at a"
            " newer one."
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
            "Stoa's database user may not create the extension 'vector'. As an administrator of the server run in this"
            " database: CREATE EXTENSION vector;"
        ) from error
    except asyncpg.UniqueViolationError:
        pass  # Another node did it concurrently.


async def _ensure_tenant_role(connection: asyncpg.Connection) -> None:
    """The role that requests run under: owns nothing, cannot log in, cannot bypass row-level security."""
    row = await connection.fetchrow(
        "SELECT rolsuper OR rolbypassrls AS bypasses, pg_has_role(current_user, oid, 'SET') AS may_set FROM pg_roles"
        " WHERE rolname = $1",
        TENANT_ROLE,
    )
    try:
        if row is None:
            # Attributes keep their defaults: some managed services refuse a mention of SUPERUSER or BYPASSRLS.
            await connection.execute(f"CREATE ROLE {TENANT_ROLE} NOLOGIN")
        elif row["bypasses"]:
            raise SchemaError(
                f"The role {TENANT_ROLE} can bypass row-level security. Run: ALTER ROLE {TENANT_ROLE} NOSUPERUSER"
                " NOBYPASSRLS;"
            )
        if row is None or not row["may_set"]:
            await connection.execute(f"GRANT {TENANT_ROLE} TO CURRENT_USER")
    except asyncpg.DuplicateObjectError:
        pass  # Created concurrently by a node on another database of the same server.
    except asyncpg.InsufficientPrivilegeError as error:
        me = await connection.fetchval("SELECT quote_ident(current_user)")
        made = f"CREATE ROLE {TENANT_ROLE} NOLOGIN; " if row is None else ""
        verb = "create" if row is None else "become"
        raise SchemaError(
            f"Stoa's database user may not {verb} the role {TENANT_ROLE}. As an administrator of the server run:"
            f" {made}GRANT {TENANT_ROLE} TO {me};"
        ) from error
