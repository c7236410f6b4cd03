"""The database pool and its transactions.

Stores take an open `Tx` as an argument and never begin or commit. There are two ways to open one:

- `Database.tenant(principal)`: what every request uses. It runs as the role `stoa_tenant`, which owns nothing and
  cannot bypass row-level security, with the caller's organization and project set for this transaction only.
- `stoa.db.internal.internal(database)`: the role that owns the tables, for what serves all tenants at once. An import
  contract names the few modules that may use it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, cast
from uuid import UUID
from weakref import WeakSet

import asyncpg
import orjson

from stoa.db.notifying import Notifier
from stoa.db.outages import DRIVER, NO_ROOM, Unreplicated, translated, unreachable
from stoa.db.pooled import Pooled
from stoa.db.servers import FAILURES, KEEPALIVE, Connection, Moved, itself, local, reach
from stoa.kernel.errors import DatabaseUnavailable
from stoa.kernel.metrics import Counter, Gauge, Metric
from stoa.kernel.principal import Principal

TENANT_ROLE: Final = "stoa_tenant"
NO_PROJECT: Final = UUID(int=0)
"""The nil UUID: the value of `stoa.project_id` for a principal who sees several projects or none, which are in
`stoa.project_ids`. An empty setting would mean all projects."""

CONNECT_SECONDS_MAX: Final = 5
"""A database that is up answers at once. After this time the attempt is aborted and repeated."""
STATEMENTS_CACHED_MAX: Final = 100
SESSION: Final = (
    "SET statement_timeout = 0; SET lock_timeout = 0;"
    " SELECT set_config('transaction_timeout', '0', false)"
    " WHERE current_setting('transaction_timeout', true) IS NOT NULL"
)
"""Managed services and careful operators limit statements, to seconds at times: building an index takes longer, and a
message that waits for another one is no failure. Our own limits stand beside each statement."""
_UNLIMITED: Final = "; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"

Row: TypeAlias = asyncpg.Record


class Tx(Protocol):
    """An open transaction. Statements run inside it; its opener commits or rolls back."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    async def execute(self, query: str, *args: Any) -> str: ...

    def cursor(self, query: str, *args: Any, prefetch: int | None = None) -> AsyncIterator[Row]: ...

    def notify(self, channel: str, payload: str = "") -> None:
        """Wakes whoever listens, on every node, once this transaction is committed; never if it is rolled back."""
        ...


class Database:
    """A bounded pool of connections. `acquire_seconds_max` limits the wait for a free one; then the request
    gets 503."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        dsn: str,
        acquire_seconds_max: float,
        session_dsn: str | None,
        connections: "WeakSet[Connection]",
        commit_seconds_max: float,
    ) -> None:
        self._pool = pool
        self._commit_seconds_max = commit_seconds_max
        self._acquire_seconds_max = acquire_seconds_max
        self._pooled = session_dsn is not None
        self._connections = connections
        self.session_dsn = session_dsn or dsn
        """For connections outside of the pool, whose sessions must stay theirs."""
        self.notifier = Notifier(lambda: connect(self.session_dsn))
        self._waiting = 0
        self.out_of_room = False
        """Whether a statement failed because the server lacks disk space or memory, and `readiness` has found no room
        since."""
        self._unavailable = Counter(
            "stoa_database_unavailable", "Times that a connection could not be had, or was lost in use."
        )

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        connections_max: int,
        session_dsn: str | None = None,
        acquire_seconds_max: float = 10.0,
        command_seconds_max: float = 60.0,
        commit_seconds_max: float = 10.0,
    ) -> "Database":
        """With a `session_dsn`, `dsn` leads to a pooler in transaction mode (PgBouncer): two transactions of one
        connection may run in two sessions, so no session state is used, not even prepared statements."""
        connections: WeakSet[Connection] = WeakSet()

        async def connect_one(url: str, **options: Any) -> Connection:
            connection = await reach(url, seconds_max=CONNECT_SECONDS_MAX, **options)
            connections.add(connection)
            return connection

        async def prepare(connection: asyncpg.Connection) -> None:
            if session_dsn is None:
                await connection.execute(SESSION if local(dsn) else f"{SESSION}; {KEEPALIVE}")
            await _set_codecs(connection)

        pool = await asyncpg.create_pool(
            dsn,
            connect=connect_one,
            connection_class=Connection,
            min_size=1,
            max_size=connections_max,
            init=prepare,
            reset=_leave_as_it_is,
            command_timeout=command_seconds_max,
            statement_cache_size=0 if session_dsn is not None else STATEMENTS_CACHED_MAX,
        )
        return cls(pool, dsn, acquire_seconds_max, session_dsn, connections, commit_seconds_max)

    async def close(self) -> None:
        await self.notifier.close()
        await self._pool.close()

    def drop_connections(self, moved: Moved | None) -> None:
        """Drops the connections of the pool, in use or not, that lead to a server of before; with None all of them.
        Statements under way raise DatabaseUnavailable. Notifications go over a new connection too."""
        self.notifier.reconnect(moved)
        for connection in list(self._connections):
            if moved is None or moved.leaves(connection):
                connection.abort()

    def metrics(self) -> Sequence[Metric]:
        return [
            Gauge(
                "stoa_database_connections",
                "Connections of this node's pool; at most stoa_database_connections_max are made.",
                lambda: {
                    ("used",): self._pool.get_size() - self._pool.get_idle_size(),
                    ("idle",): self._pool.get_idle_size(),
                },
                ("state",),
            ),
            Gauge("stoa_database_connections_max", "What STOA_CONNECTIONS_MAX allows.", self._pool.get_max_size),
            Gauge(
                "stoa_database_waiting",
                "Transactions that wait for a free connection of the pool.",
                lambda: self._waiting,
            ),
            self._unavailable,
        ]

    @asynccontextmanager
    async def tenant(
        self, principal: Principal, *, snapshot: bool = False, every_owner: bool = False
    ) -> AsyncGenerator[Tx]:
        """A transaction that sees and writes the principal's rows only; commits at the end, rolls back on any error.

        With `snapshot` all its statements see the database as it was at the first: for reading in several steps.
        With `every_owner` it sees the conversations of all users of its projects, for the doctor's checks.
        """
        project = principal.project_id or ("" if principal.projects is None else NO_PROJECT)
        # One round trip. The values are UUID objects, so there is nothing to escape.
        opening = (
            f"BEGIN{' ISOLATION LEVEL REPEATABLE READ' if snapshot else ''}; SET LOCAL ROLE {TENANT_ROLE}; SET LOCAL"
            f" stoa.org_id = '{principal.org_id}';"
            f" SET LOCAL stoa.project_id = '{project}'"
        )
        if principal.projects is not None:
            opening += f"; SET LOCAL stoa.project_ids = '{{{','.join(str(one) for one in principal.projects)}}}'"
        if every_owner:
            opening += "; SET LOCAL stoa.owners = 'all'"
        if principal.user_id is not None:
            opening += f"; SET LOCAL stoa.user_id = '{principal.user_id}'"
        async with self.transaction(opening) as tx:
            yield tx

    @asynccontextmanager
    async def transaction(self, opening: str) -> AsyncGenerator[Tx]:
        """For `tenant`, `stoa.db.internal` and `stoa.db.readiness` alone: `opening` is the statement that begins the
        transaction."""
        loop = asyncio.get_running_loop()
        if self._pooled:
            opening += _UNLIMITED  # A pooler's sessions are not ours.
        async with self.connection() as connection:
            healthy = False
            try:
                await connection.execute(opening)
                yield cast("Tx", Pooled(connection) if self._pooled else connection)
                # Not the driver's timeout: it would cancel the wait for the standby, which acknowledges the commit.
                late = loop.call_later(self._commit_seconds_max, connection.abort)
                try:
                    await connection.execute("COMMIT")
                finally:
                    late.cancel()
                healthy = True
            finally:
                if not healthy and not connection.is_closed():
                    await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """For `transaction` and `stoa.db.internal` alone. Raises DatabaseUnavailable when the database cannot be
        reached or the connection is lost."""
        self._waiting += 1
        try:
            held = await self._pool.acquire(timeout=self._acquire_seconds_max)
        except FAILURES as error:
            self._unavailable.add()
            raise unreachable(error) from error
        finally:
            self._waiting -= 1
        watch = CommitWatch()
        connection = itself(held)
        try:
            if connection is None:
                raise ConnectionResetError
            connection.add_log_listener(watch.on_message)
            notifications = connection.notifications
            notifications.clear()  # Those of a transaction that failed.
            yield connection
            watch.check()
            if notifications:
                self.notifier.send(notifications)
        except DRIVER as error:
            outage = translated(error, connection)
            if outage is None:
                raise
            if isinstance(outage, DatabaseUnavailable) and not isinstance(error, asyncpg.TransactionRollbackError):
                self._unavailable.add()
            self.out_of_room |= isinstance(error, NO_ROOM)
            raise outage from error
        finally:
            if connection is not None:
                connection.remove_log_listener(watch.on_message)
            await self._pool.release(held)


class CommitWatch:
    """Detects PostgreSQL's warning on a connection that it did not wait for the synchronous standby."""

    __slots__ = ("_unreplicated",)

    def __init__(self) -> None:
        self._unreplicated = False

    def on_message(self, _: object, message: Any) -> None:
        """A log listener. asyncpg calls it before the statement's caller continues."""
        # The text is translated; the name of the reporting function is not.
        self._unreplicated |= message.server_source_function == "SyncRepWaitForLSN"

    def check(self) -> None:
        """Raises Unreplicated."""
        if self._unreplicated:
            raise Unreplicated


async def connect(dsn: str, *, seconds_max: float = CONNECT_SECONDS_MAX) -> Connection:
    """A connection outside of the pool with a session of its own, for LISTEN, advisory locks and the journal writer."""
    connection = await reach(dsn, seconds_max=seconds_max, command_timeout=60)
    try:
        await connection.execute(SESSION if local(dsn) else f"{SESSION}; {KEEPALIVE}")
        await _set_codecs(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _set_codecs(connection: asyncpg.Connection) -> None:
    """Converts `jsonb` from and to Python values."""
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
    """All our settings are LOCAL to a transaction, so the pool's RESET would be a wasted round trip."""
