"""The journal writer on a real database, without a server around it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import asyncpg
import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.events import Event, EventType, TextDelta, Unencodable, delta_of
from stoa.journal import Fenced, Head, Journal, JournalKey, JournalWriter, LiveBuffer, RunWriter
from stoa.kernel.clock import SystemClock, rfc3339


async def opened(connection: asyncpg.Connection, journal: Journal) -> tuple[JournalKey, RunWriter]:
    """A journal without a run, and its first writer."""
    key = JournalKey(uuid4(), uuid4())
    run_writer, _ = journal.begin(key, [], rfc3339(SystemClock().now()))
    await connection.execute(
        "INSERT INTO journals (org_id, project_id, run_id, epoch) VALUES ($1, $2, $3, 1)",
        key.org_id,
        uuid4(),
        key.run_id,
    )
    return key, run_writer


@dataclass
class Opened:
    """A journal on a fresh database, its writer at work."""

    database: Database
    journal: Journal
    connection: asyncpg.Connection

    async def open(self, last_sequence: int = 0) -> tuple[JournalKey, RunWriter]:
        key = JournalKey(uuid4(), uuid4())
        await self.connection.execute(
            "INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence) VALUES ($1, $2, $3, 1, $4)",
            key.org_id,
            uuid4(),
            key.run_id,
            last_sequence,
        )
        return key, self.journal.writer.open(key, Head(1, last_sequence, sealed=False), hashlib.sha256())

    async def texts(self, key: JournalKey) -> list[str]:
        return [
            delta_of(record.payload) async for records in self.journal.all(key.org_id, key.run_id) for record in records
        ]


@pytest.fixture
async def journals(dsn: str) -> AsyncIterator[Opened]:
    clock, live = SystemClock(), LiveBuffer()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, live, clock)
    await writer.start()
    connection = await asyncpg.connect(dsn)
    yield Opened(database, Journal(database, writer, live), connection)
    await connection.close()
    await writer.stop()
    await database.close()


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_two_writers_of_one_run_in_one_tick(dsn: str) -> None:
    """A cancel and a claim of the same node may meet. The newer writer writes, the older one is fenced off, and other
    runs' ticks go on."""
    clock, live = SystemClock(), LiveBuffer()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, live, clock)
    journal = Journal(database, writer, live)
    await writer.start()
    connection = await asyncpg.connect(dsn)
    try:
        key, older = await opened(connection, journal)
        _, bystander = await opened(connection, journal)
        async with internal(database) as tx:
            head = await journal.take(tx, key)
        newer, _ = await journal.resume(key, head)
        for run_writer in (newer, older, bystander):
            run_writer.write(Event(EventType.RUN_STARTED, {"object": "run", "status": "started"}))
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


POISONS: list[object] = ["\ud800", 2**70, {1: "no string"}, deep(300), object()]
"""What no JSON can hold, one of each kind."""


async def test_what_one_run_says_costs_that_run_alone(journals: Opened) -> None:
    """Sixty healthy runs and twelve poisoned ones in the same ticks: each healthy one keeps its events and its
    epoch."""
    healthy = [await journals.open() for _ in range(60)]
    poisoned = [await journals.open() for _ in range(12)]
    stopped: list[RunWriter] = []
    for number, (_, run_writer) in enumerate(poisoned):
        run_writer.on_stopped = partial(stopped.append, run_writer)
        run_writer.write(TextDelta(EventType.RESPONSE_DELTA, "before", 1))
        run_writer.write(Event(EventType.TOOL_CALL_COMPLETED, {"input": POISONS[number % len(POISONS)]}))
        run_writer.write(TextDelta(EventType.RESPONSE_DELTA, "after", 1))
    for _, run_writer in healthy:
        run_writer.write(TextDelta(EventType.RESPONSE_DELTA, "well", 1))
    async with asyncio.timeout(10):
        for _, run_writer in healthy:
            await run_writer.flush()
        for _, run_writer in poisoned:
            with pytest.raises(Unencodable, match=r"agent\.tool_call\.completed"):
                await run_writer.flush()
    assert [await journals.texts(key) for key, _ in healthy] == [["well"]] * 60
    assert [await journals.texts(key) for key, _ in poisoned] == [["before"]] * 12, "what came before is kept"
    assert len(stopped) == 12
    for _, run_writer in poisoned:
        assert not run_writer.fenced
        assert await run_writer.take() == []
        end = run_writer.batch([Event(EventType.RUN_FAILED, {})], rfc3339(SystemClock().now()), seal=True)
        async with internal(journals.database) as tx:
            await journals.journal.writer.store(tx, end)
        assert [record.sequence for record in end.records] == [2], "its end can still be written"


async def test_values_that_postgresql_refuses_cost_one_run(journals: Opened) -> None:
    """A sequence beyond the column, beside a healthy run in the same statement."""
    key, full = await journals.open(last_sequence=2**31 - 1)
    _, bystander = await journals.open()
    for run_writer in (full, bystander):
        run_writer.write(Event(EventType.RUN_RESUMED, {}))
    async with asyncio.timeout(10):
        await bystander.flush()
        with pytest.raises(Fenced):
            await full.flush()
    assert not await journals.texts(key)


SCANS = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'journals'"


async def test_a_tick_reads_no_journal_but_its_own(dsn: str) -> None:
    """Whatever the statistics say: here, that no journal is open, so that reading them all would seem cheap."""
    clock, live = SystemClock(), LiveBuffer()
    database = await Database.open(dsn, connections_max=4)
    writer = JournalWriter(dsn, live, clock)
    journal = Journal(database, writer, live)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO journals (org_id, project_id, run_id, epoch, sealed) SELECT gen_random_uuid(), "
            "gen_random_uuid(), gen_random_uuid(), 1, true"
            " FROM generate_series(1, 600)"
        )
        await connection.execute("ANALYZE journals")
        await writer.start()
        _, run_writer = await opened(connection, journal)
        before = await connection.fetchrow(SCANS)
        assert before is not None
        for _ in range(20):  # PostgreSQL makes the plan that it keeps after the first few.
            run_writer.write(Event(EventType.RUN_RESUMED, {}))
            await run_writer.flush()
        await writer.stop()  # What a connection has counted is known once it has gone.
        async with asyncio.timeout(10):
            while (after := await connection.fetchrow(SCANS)) is None or after["idx_scan"] < before["idx_scan"] + 20:
                await asyncio.sleep(0.01)
        assert after["seq_scan"] == before["seq_scan"]
    finally:
        await writer.stop()
        await connection.close()
        await database.close()
