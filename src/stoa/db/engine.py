"""The database, and the right to touch it.

A `Tx` is that right: stores are handed one and never begin or commit. There are two ways to get one:

- `Database.tenant(principal)`: what every request uses. It runs as the role `stoa_tenant`, which owns nothing and
  cannot bypass row-level security, with the caller's organization and project set for this transaction only.
- `stoa.db.internal.internal(database)`: the role that owns the tables, for what serves all tenants at once. An import
  contract names the few modules that may use it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, cast

import asyncpg
import orjson

from stoa.kernel.errors import Unavailable
from stoa.kernel.principal import Principal

TENANT_ROLE: Final = "stoa_tenant"

Row: TypeAlias = asyncpg.Record

_AWAY: Final = (
    TimeoutError, OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncpg.InterfaceError,
)  # fmt: skip


class Tx(Protocol):
    """An open transaction. A statement runs inside it; it ends when whoever opened it says so."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    async def execute(self, query: str, *args: Any) -> str: ...

    def cursor(self, query: str, *args: Any, prefetch: int | None = None) -> AsyncIterator[Row]: ...


class Database:
    """A bounded pool of connections. `acquire_seconds_max` bounds the wait for a free one: then 503, not a queue without end."""

    def __init__(self, pool: asyncpg.Pool, dsn: str, acquire_seconds_max: float) -> None:
        self._pool = pool
        self._acquire_seconds_max = acquire_seconds_max
        self.dsn = dsn

    @classmethod
    async def open(cls, dsn: str, *, connections_max: int, acquire_seconds_max: float = 10.0) -> "Database":
        pool = await asyncpg.create_pool(
            dsn, min_size=1, max_size=connections_max, init=_prepare, reset=_leave_as_it_is, command_timeout=60
        )
        return cls(pool, dsn, acquire_seconds_max)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def tenant(self, principal: Principal, *, snapshot: bool = False) -> AsyncGenerator[Tx]:
        """A transaction that sees and writes the principal's rows only; commits at the end, rolls back on any error.

        With `snapshot` all its statements see the database as it was at the first: for reading in several steps.
        """
        project = principal.project_id or ""
        # One round trip. The values are UUID objects, so there is nothing to escape.
        opening = (
            f"BEGIN{' ISOLATION LEVEL REPEATABLE READ' if snapshot else ''}; SET LOCAL ROLE {TENANT_ROLE}; SET LOCAL stoa.org_id = '{principal.org_id}';"
            f" SET LOCAL stoa.project_id = '{project}'"
        )
        async with self.transaction(opening) as tx:
            yield tx

    @asynccontextmanager
    async def transaction(self, opening: str) -> AsyncGenerator[Tx]:
        """For `tenant` and `stoa.db.internal` alone: says how the transaction begins."""
        async with self.connection() as connection:
            healthy = False
            try:
                await connection.execute(opening)
                yield cast("Tx", connection)
                await connection.execute("COMMIT")
                healthy = True
            finally:
                if not healthy and not connection.is_closed():
                    await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.Connection]:
        """For `transaction` and `stoa.db.internal` alone. Raises Unavailable when the database cannot be had, or goes away."""
        try:
            connection = await self._pool.acquire(timeout=self._acquire_seconds_max)
        except _AWAY as error:
            raise Unavailable("The database cannot be reached just now; try again in a moment.") from error
        try:
            yield cast("asyncpg.Connection", connection)
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError, ConnectionError) as error:
            raise Unavailable("The database went away during this request; try again in a moment.") from error
        finally:
            await self._pool.release(connection)


async def connect(dsn: str) -> asyncpg.Connection:
    """A connection of one's own, for LISTEN and for the journal writer; prepared like those of the pool."""
    connection = await asyncpg.connect(dsn, command_timeout=60)
    await _prepare(connection)
    return connection


async def _prepare(connection: asyncpg.Connection) -> None:
    """`jsonb` goes in and out as Python values."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=_encode,
        decoder=_decode,
        format="binary",
    )


def _encode(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


def _decode(raw: bytes) -> Any:
    return orjson.loads(raw[1:])


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """Every setting of ours is LOCAL to its transaction, so the pool's own RESET would be a wasted round trip."""
