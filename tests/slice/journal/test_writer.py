"""The journal writer on a real database, without a server around it."""

import asyncio
from uuid import uuid4

import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.events import Event, Kind
from stoa.journal import Fenced, Journal, JournalKey, JournalWriter, Tails
from stoa.kernel.clock import SystemClock, rfc3339


async def test_two_pens_of_one_run_in_one_tick(dsn: str) -> None:
    """A cancel and a claim of the same node may meet. The newer pen writes, the older one is fenced off, and other runs' ticks go on."""
    clock, tails = SystemClock(), Tails()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, tails, clock)
    journal = Journal(database, writer, tails)
    await writer.start()
    try:
        key, other = (JournalKey(uuid4(), uuid4(), uuid4()) for _ in range(2))
        async with internal(database) as tx:
            older, _ = await journal.open(tx, key, [], rfc3339(clock.now()))
            bystander, _ = await journal.open(tx, other, [], rfc3339(clock.now()))
            head = await journal.take(tx, key)
        newer, _ = await journal.resume(key, head)
        for pen in (newer, older, bystander):
            pen.write(Event(Kind.RUN_STARTED, {"object": "run", "status": "started"}))
        async with asyncio.timeout(10):
            await newer.flush()
            await bystander.flush()
            with pytest.raises(Fenced):
                await older.flush()
        assert [record.sequence async for records in journal.all(key.org_id, key.run_id) for record in records] == [1]
        with pytest.raises(Fenced):
            older.write(Event(Kind.RUN_PAUSED, {}))
    finally:
        await writer.stop()
        await database.close()
