"""What the driver's errors become."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from stoa.db import Database, Tx
from stoa.db.internal import internal
from stoa.db.outages import unreachable
from stoa.db.servers import itself
from stoa.kernel.errors import DatabaseUnavailable


async def fall(database: Database, *, cancelled: bool) -> None:
    """A connection that falls in the middle, as the driver tells it: also where a cancel came in the same moment, which
    it swallows."""
    async with internal(database):
        if cancelled:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def test_a_connection_that_falls_is_an_outage_and_a_cancel_is_not_lost(dsn: str) -> None:
    database = await Database.open(dsn, connections_max=2)
    try:
        with pytest.raises(DatabaseUnavailable):
            await fall(database, cancelled=False)
        cut = asyncio.create_task(fall(database, cancelled=True))
        await asyncio.wait([cut])
        assert cut.cancelled()
    finally:
        await database.close()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = await Database.open(dsn, connections_max=2)
    yield database
    await database.close()


async def lose(database: Database, tx: Tx, dsn: str) -> None:
    """The server ends the transaction's session while no statement is under way."""
    pid = await tx.fetchval("SELECT pg_backend_pid()")
    connections = list(database._connections)  # pyright: ignore[reportPrivateUsage] - there is no other way to see it
    connection = next(one for one in connections if not one.is_closed() and one.get_server_pid() == pid)
    other = await asyncpg.connect(dsn)
    try:
        await other.execute("SELECT pg_terminate_backend($1)", pid)
    finally:
        await other.close()
    async with asyncio.timeout(10):
        while not connection.is_closed():
            await asyncio.sleep(0.01)


async def nothing(_: Tx) -> None:
    """Straight to the COMMIT."""


async def notify(tx: Tx) -> None:
    tx.notify("stoa_runs", "claim")


async def read(tx: Tx) -> None:
    await tx.fetchval("SELECT 1")


@pytest.mark.parametrize("then", [nothing, notify, read])
async def test_a_connection_lost_between_two_statements(
    database: Database, dsn: str, then: Callable[[Tx], Awaitable[None]]
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with internal(database) as tx:
            await lose(database, tx, dsn)
            await then(tx)


async def test_a_loss_that_comes_between_the_answer_and_its_task_is_no_bug(database: Database, dsn: str) -> None:
    """The pool detaches its proxy as soon as the connection is lost: what is not asyncpg's own then fails."""
    async with internal(database) as tx:
        await tx.fetchval("SELECT 1")
    proxy = await database._pool.acquire()  # pyright: ignore[reportPrivateUsage] - as the pool gives it
    connection = itself(proxy)
    assert connection is not None
    connection.terminate()
    assert itself(proxy) is None
    await database._pool.release(proxy)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("setting", "then"),
    [
        ("idle_in_transaction_session_timeout = '50ms'", "between"),
        ("transaction_timeout = '50ms'", "during"),
    ],
)
async def test_a_time_limit_of_the_server_is_an_outage(database: Database, setting: str, then: str) -> None:
    """They end the session with codes of class 25, which are otherwise those of bugs."""
    with pytest.raises(DatabaseUnavailable):
        async with internal(database) as tx:
            await tx.execute(f"SET LOCAL {setting}")
            if then == "during":
                await tx.execute("SELECT pg_sleep(10)")
            async with asyncio.timeout(10):
                while True:
                    await asyncio.sleep(0.1)
                    await tx.fetchval("SELECT 1")
                    await asyncio.sleep(0.1)


async def test_a_column_that_a_migration_adds_is_an_outage_of_one_request(database: Database, dsn: str) -> None:
    """PostgreSQL refuses the prepared `SELECT *` once; the next request prepares it again."""
    other = await asyncpg.connect(dsn)
    try:
        await other.execute("CREATE TABLE growing (a int); INSERT INTO growing VALUES (1)")
        async with internal(database) as tx:
            assert dict(await tx.fetchrow("SELECT * FROM growing") or {}) == {"a": 1}
        await other.execute("ALTER TABLE growing ADD b int")
        with pytest.raises(DatabaseUnavailable):
            async with internal(database) as tx:
                await tx.fetchrow("SELECT * FROM growing")
        async with internal(database) as tx:
            assert dict(await tx.fetchrow("SELECT * FROM growing") or {}) == {"a": 1, "b": None}
    finally:
        await other.close()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InvalidPasswordError("password authentication failed"),
        asyncpg.InvalidSQLStatementNameError("unnamed prepared statement does not exist"),
        asyncpg.InvalidCatalogNameError("database does not exist"),
        OSError(113, "No route to host"),
    ],
)
async def test_whatever_keeps_a_connection_from_being_made_is_an_outage(error: Exception) -> None:
    assert isinstance(unreachable(error), DatabaseUnavailable)


async def test_wrong_use_of_a_statement_stays_a_bug(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with internal(database) as tx:
            await tx.fetchval("SELECT 1 FROM not_there")
    with pytest.raises(asyncpg.InterfaceError):
        async with internal(database) as tx:
            await tx.fetchval("SELECT 1", "one argument too many")
