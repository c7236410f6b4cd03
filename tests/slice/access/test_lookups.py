"""Keys that are asked for together are looked up together, and none is remembered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from stoa.access.lookups import STATEMENTS_MAX, KeyLookups
from stoa.access.rules import digest
from stoa.db import Database
from stoa.kernel.errors import DatabaseUnavailable


class Counting:
    """A database that counts its connections, and lends them once `gate` is open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.gate = asyncio.Event()
        self.gate.set()
        self.lent = 0
        self.away = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        self.lent += 1
        await self.gate.wait()
        if self.away:
            raise DatabaseUnavailable("The database is away.")
        async with self._database.connection() as connection:
            yield connection


@pytest.fixture
async def counting(dsn: str) -> AsyncIterator[Counting]:
    connection = await asyncpg.connect(dsn)
    org_id = await connection.fetchval("INSERT INTO orgs (id, name) VALUES (gen_random_uuid(), 'A') RETURNING id")
    for name in ("a", "b"):
        await connection.execute(
            "INSERT INTO access_keys (org_id, id, name, hash, preview) VALUES ($1, gen_random_uuid(), $2, $3, '')",
            org_id,
            name,
            digest(name),
        )
    await connection.close()
    database = await Database.open(dsn, connections_max=STATEMENTS_MAX + 1)
    yield Counting(database)
    await database.close()


async def test_concurrent_look_ups_share_a_statement(counting: Counting) -> None:
    lookups = KeyLookups(counting)  # type: ignore[arg-type] # what it uses of a database
    asked = [digest(name) for name in ("a", "b", "c", "a") * 25]
    async with asyncio.timeout(10):
        found = await asyncio.gather(*map(lookups.row, asked))
    assert [row["hash"] if row else None for row in found] == [digest("a"), digest("b"), None, digest("a")] * 25
    assert counting.lent == 1


async def test_a_hanging_look_up_blocks_no_other(counting: Counting) -> None:
    lookups = KeyLookups(counting)  # type: ignore[arg-type] # the same
    counting.gate.clear()
    async with asyncio.timeout(10):
        hanging = []
        for number in range(STATEMENTS_MAX + 2):
            hanging.append(asyncio.create_task(lookups.row(digest("a"))))
            while counting.lent < min(number + 1, STATEMENTS_MAX):
                await asyncio.sleep(0)
        assert counting.lent == STATEMENTS_MAX  # What comes now waits, and shares the next one.
        hanging[0].cancel()
        counting.gate.set()
        given_up, *others = await asyncio.gather(*hanging, return_exceptions=True)
    assert isinstance(given_up, asyncio.CancelledError)
    assert [row["hash"] for row in others if row is not None and not isinstance(row, BaseException)] == [
        digest("a")
    ] * (STATEMENTS_MAX + 1)
    assert counting.lent == STATEMENTS_MAX + 1


async def test_a_database_that_is_away_refuses_each(counting: Counting) -> None:
    lookups = KeyLookups(counting)  # type: ignore[arg-type] # the same
    counting.away = True
    async with asyncio.timeout(10):
        refused = await asyncio.gather(*(lookups.row(digest("a")) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in refused] == [DatabaseUnavailable] * 3
        assert len({id(one) for one in refused}) == 3  # Each with a traceback of its own.
        counting.away = False
        assert await lookups.row(digest("a")) is not None


async def test_look_ups_are_not_cached(counting: Counting, dsn: str) -> None:
    lookups = KeyLookups(counting)  # type: ignore[arg-type] # the same
    assert await lookups.row(digest("a")) is not None
    connection = await asyncpg.connect(dsn)
    await connection.execute("DELETE FROM access_keys WHERE name = 'a'")
    await connection.close()
    assert await lookups.row(digest("a")) is None
