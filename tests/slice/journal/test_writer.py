"""The journal writer on a real database, without a server around it."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.events import Event, EventType
from stoa.journal import Fenced, Journal, JournalKey, JournalWriter, LiveBuffer, RunWriter
from stoa.kernel.clock import SystemClock, rfc3339


async def opened(connection: asyncpg.Connection, journal: Journal) -> tuple[JournalKey, RunWriter]:
    """A journal without a run, and its first pen."""
    key = JournalKey(uuid4(), uuid4())
    pen, _ = journal.begin(key, [], rfc3339(SystemClock().now()))
    await connection.execute(
        "INSERT INTO journals (org_id, project_id, run_id, epoch) VALUES ($1, $2, $3, 1)",
        key.org_id,
        uuid4(),
        key.run_id,
    )
    return key, pen


async def test_two_pens_of_one_run_in_one_tick(dsn: str) -> None:
    """A cancel and a claim of the same node may meet. The newer pen writes, the older one is fenced off, and other
    runs' ticks go on."""
    clock, tails = SystemClock(), LiveBuffer()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, tails, clock)
    journal = Journal(database, writer, tails)
    await writer.start()
    connection = await asyncpg.connect(dsn)
    try:
        key, older = await opened(connection, journal)
        _, bystander = await opened(connection, journal)
        async with internal(database) as tx:
            head = await journal.take(tx, key)
        newer, _ = await journal.resume(key, head)
        for pen in (newer, older, bystander):
            pen.write(Event(EventType.RUN_STARTED, {"object": "run", "status": "started"}))
        async with asyncio.timeout(10):
            await newer.flush()
            await bystander.flush()
            with pytest.raises(Fenced):
                await older.flush()
        assert [record.sequence async for records in journal.all(key.org_id, key.run_id) for record in records] == [1]
        with pytest.raises(Fenced):
            older.write(Event(EventType.RUN_PAUSED, {}))
    finally:
        await connection.close()
        await writer.stop()
        await database.close()


SCANS = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'journals'"


async def test_a_tick_reads_no_journal_but_its_own(dsn: str) -> None:
    """Whatever the statistics say: here, that no journal is open, so that reading them all would seem cheap."""
    clock, tails = SystemClock(), LiveBuffer()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, tails, clock)
    journal = Journal(database, writer, tails)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO journals (org_id, project_id, run_id, epoch, sealed) SELECT gen_random_uuid(), "
            "gen_random_uuid(), gen_random_uuid(), 1, true"
            " FROM generate_series(1, 600)"
        )
        await connection.execute("ANALYZE journals")
        await writer.start()
        _, pen = await opened(connection, journal)
        before = await connection.fetchrow(SCANS)
        assert before is not None
        for _ in range(20):  # PostgreSQL makes the plan that it keeps after the first few.
            pen.write(Event(EventType.RUN_RESUMED, {}))
            await pen.flush()
        await writer.stop()  # What a connection has counted is known once it has gone.
        async with asyncio.timeout(10):
            while (after := await connection.fetchrow(SCANS)) is None or after["idx_scan"] < before["idx_scan"] + 20:
                await asyncio.sleep(0.01)
        assert after["seq_scan"] == before["seq_scan"]
    finally:
        await writer.stop()
        await connection.close()
        await database.close()
