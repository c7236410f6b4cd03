"""What the driver's errors become."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from stoa.db import Database
from stoa.db.internal import internal
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
