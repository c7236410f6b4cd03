"""An export's snapshot is kept while somebody reads it, and given up when nobody does."""

import asyncio
from uuid import UUID

import asyncpg

from stoa.db import Database
from stoa.kernel.ids import RandomIds
from stoa.kernel.principal import Principal
from stoa.transfer import rules
from stoa.transfer.exports import Exports
from tests.conftest import Running
from tests.support.doubles import FixedClock


async def test_an_export_that_begins_is_not_idle(shared_server: Running) -> None:
    """Its snapshot waits for a lock while idle exports are closed."""
    project_id = UUID((await shared_server.call("GET", "/v1/projects"))["data"][0]["id"])
    clock = FixedClock()
    clock.elapsed = 10 * rules.IDLE_SECONDS_MAX
    database = await Database.open(shared_server.dsn, connections_max=2)
    other = await asyncpg.connect(shared_server.dsn)
    try:
        principal = await _first_key(other)
        exports = Exports(database, RandomIds(), clock, [])
        async with other.transaction():
            await other.execute("LOCK TABLE models IN ACCESS EXCLUSIVE MODE")
            beginning = asyncio.create_task(exports.begin(principal, project_id))
            async with asyncio.timeout(10):
                while not await other.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'models'::regclass"
                ):
                    await asyncio.sleep(0.01)
            await exports.close_idle()
        async with asyncio.timeout(10):
            export = await beginning
            content = b"".join([piece async for piece in exports.stream(export, None)])
        assert rules.MANIFEST.encode() in content
        clock.elapsed += rules.IDLE_SECONDS_MAX + 1
        await exports.close_idle()
        assert export.tx is None, "nobody reads it any more"
        await exports.stop()
    finally:
        await other.close()
        await database.close()


async def _first_key(connection: asyncpg.Connection) -> Principal:
    row = await connection.fetchrow("SELECT org_id, id FROM access_keys ORDER BY created_at LIMIT 1")
    return Principal(row["org_id"], None, row["id"])
