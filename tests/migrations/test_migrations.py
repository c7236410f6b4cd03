"""Migrations: once, however many nodes start; and a clear word where a database does not fit."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from stoa.db import migrations
from stoa.db.migrate import SchemaError, migrate
from tests.support.databases import Databases

MIGRATIONS = sorted(file.stem for file in Path(migrations.__file__).parent.glob("*.sql"))


async def test_ten_nodes_start_at_once(cluster: Databases) -> None:
    dsn = await cluster.copy("ten_nodes", "template1")
    applied = await asyncio.gather(*(migrate(dsn) for _ in range(10)))
    assert max(applied, key=len) == MIGRATIONS
    assert sum(map(len, applied)) == len(MIGRATIONS)
    await cluster.drop("ten_nodes")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE stoa_migrations SET number = 9999 WHERE number = 1", "newer Stoa"),
        ("UPDATE stoa_migrations SET sha256 = 'x'", "another version of the migration"),
    ],
)
async def test_incompatible_databases_are_refused(dsn: str, change: str, words: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(change)
    await connection.close()
    with pytest.raises(SchemaError, match=words):
        await migrate(dsn)
