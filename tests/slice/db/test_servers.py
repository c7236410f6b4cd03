"""Two real servers: which one is used, what counts as committed, and what becomes of connections to the other."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from stoa.db import Database, Moved
from stoa.db.internal import internal, internal_statement
from stoa.db.migrate import SchemaError, migrate
from stoa.db.node import Node
from stoa.db.servers import addresses_of, named, reach
from stoa.events import EventType, TextDelta, delta_of
from stoa.journal import Head, Journal, JournalKey, JournalWriter, LiveBuffer
from stoa.kernel.clock import SystemClock
from stoa.kernel.errors import DatabaseUnavailable
from stoa.kernel.ids import RandomIds
from tests.support.nodes import BlockableProxy
from tests.support.postgres_pairs import Pair

pytestmark = pytest.mark.timeout(120)
WAITS_FOR_STANDBY = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
STOP_WAITING = "SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
async def pair(room: Path) -> AsyncIterator[Pair]:
    """Each test leaves it with a primary and a standby."""
    async with Pair(room / f"pair-{uuid4().hex[:8]}") as made:
        await migrate(made.dsn())
        yield made


@pytest.mark.parametrize(
    ("dsn", "addresses"),
    [
        ("postgresql://u:p@db1,db2:5433/x", [("db1", 5432), ("db2", 5433)]),
        ("postgresql://u@[::1]:5433,[fe80::1]/x?target_session_attrs=any", [("::1", 5433), ("fe80::1", 5432)]),
        ("postgresql:///x?host=db1,db2&port=5433,5434", [("db1", 5433), ("db2", 5434)]),
        ("postgresql://u@db1,db2/x?port=6000", [("db1", 6000), ("db2", 6000)]),
        ("postgresql://u@/x?host=/run/pg&port=5433", [("/run/pg", 5433)]),
        ("postgresql://u:a%40b@db1/x", [("db1", 5432)]),
        ("postgresql:///x", []),
    ],
)
def test_the_servers_that_a_url_names(dsn: str, addresses: list[tuple[str, int]]) -> None:
    assert list(addresses_of(dsn)) == addresses


def test_servers_are_named_without_the_password() -> None:
    assert named("postgresql://u:secret@db1,db2:5433/x") == "db1:5432, db2:5433"


async def test_the_one_that_takes_writes_is_used(pair: Pair) -> None:
    only = pair.dsn().replace("{}:{},".format(*pair.primary.way.address), "", 1)
    with pytest.raises(SchemaError, match=r"every server that answers is a standby.*Name the primary"):
        await migrate(only)
    async with BlockableProxy("postgresql://stoa@/x?host=/nowhere&port=5432") as hung:
        hung.block()  # The first of three answers nothing at all.
        listed = pair.dsn().replace("@", "@{}:{},".format(*hung.address), 1)
        connection = await reach(listed, seconds_max=20)
        assert connection.address == "{}:{}".format(*pair.primary.way.address)
        await connection.close()


async def test_of_two_primaries_the_one_promoted_later_is_used(pair: Pair) -> None:
    """The old one lives, and nobody could tell it. Whatever it takes is not acknowledged."""
    pair.primary.way.block()
    waiting = asyncio.create_task(reach(pair.dsn(), seconds_max=60))  # While nobody takes writes.
    await pair.promote()
    connection = await waiting
    assert connection.address == "{}:{}".format(*pair.primary.way.address)
    await connection.close()
    pair.standby.way.open()
    for _ in range(5):
        connection = await reach(pair.dsn(), seconds_max=20)
        assert connection.address == "{}:{}".format(*pair.primary.way.address)
        await connection.close()
    old = await asyncpg.connect(pair.standby.way.dsn)
    begun = asyncio.create_task(old.execute("CREATE TABLE nobody_confirms (n int)"))
    await pair.standby.until(WAITS_FOR_STANDBY)
    assert not begun.done()
    pair.standby.kill()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await begun
    old.terminate()
    await pair.attach()


async def test_a_commit_that_no_standby_has_confirmed_does_not_count(pair: Pair) -> None:
    database = await Database.open(pair.dsn(), connections_max=2)
    impatient = await Database.open(pair.dsn(), connections_max=1, commit_seconds_max=0.3)
    try:
        pair.standby.kill()

        async def commit(*, alone: bool) -> None:
            async with internal_statement(database) if alone else internal(database) as tx:
                await tx.execute("INSERT INTO database_servers (started_at) VALUES (clock_timestamp())")

        for alone in (False, True):
            committing = asyncio.create_task(commit(alone=alone))
            await pair.primary.until(WAITS_FOR_STANDBY)
            await pair.primary.ask(STOP_WAITING)  # PostgreSQL acknowledges it now, with a warning.
            with pytest.raises(DatabaseUnavailable):
                await committing
        with pytest.raises(DatabaseUnavailable):  # Given up, and not cancelled: nobody is shown what may be lost.
            async with internal(impatient) as tx:
                await tx.execute("INSERT INTO database_servers (started_at) VALUES ('2001-01-01')")
        hidden = "SELECT count(*) = 0 FROM database_servers WHERE started_at = '2001-01-01'"
        assert await pair.primary.ask(hidden, "stoa")
    finally:
        await pair.attach()
        await database.close()
        await impatient.close()


async def test_a_tick_in_doubt_waits_for_the_standby(pair: Pair) -> None:
    """The primary shows what the tick has written, and its standby lacks it: readers get it once the standby has it."""
    live, dsn = LiveBuffer(), pair.dsn()
    database = await Database.open(dsn, connections_max=2)
    writer = JournalWriter(dsn, live, SystemClock())
    journal = Journal(database, writer, live)
    key = JournalKey(uuid4(), uuid4())
    async with internal(database) as tx:
        made = "INSERT INTO journals (org_id, project_id, run_id, epoch) VALUES ($1, $2, $3, 1)"
        await tx.execute(made, key.org_id, uuid4(), key.run_id)
    await writer.start()
    try:
        run_writer = writer.open(key, Head(1, 0, sealed=False), hashlib.sha256())
        pair.standby.kill()
        run_writer.write(TextDelta(EventType.RESPONSE_DELTA, "once", 1))
        stored = asyncio.create_task(run_writer.flush())
        await pair.primary.until(WAITS_FOR_STANDBY)
        await pair.primary.ask(STOP_WAITING)
        shown = f"SELECT last_sequence = 1 FROM journals WHERE run_id = '{key.run_id}'"
        assert await pair.primary.ask(shown, "stoa"), "the primary has it, and shows it"
        await pair.primary.until(WAITS_FOR_STANDBY)  # The question whether it is there waits too.
        assert not stored.done(), "what its standby lacks does not count"
        await pair.attach()
        await asyncio.wait_for(stored, 30)
        records = [record async for page in journal.all(key.org_id, key.run_id) for record in page]
        assert [delta_of(record.payload) for record in records] == ["once"]
    finally:
        await writer.stop()
        await database.close()


async def test_a_server_that_became_read_only_is_left(pair: Pair) -> None:
    database = await Database.open(pair.dsn(), connections_max=1)
    insert = "INSERT INTO database_servers (started_at) VALUES (clock_timestamp())"
    try:
        await pair.primary.ask("ALTER SYSTEM SET default_transaction_read_only = on")
        await pair.primary.ask("SELECT pg_reload_conf()")
        await pair.primary.until("SELECT current_setting('default_transaction_read_only') = 'on'")
        with pytest.raises(DatabaseUnavailable):  # Told in good time or not, it comes before anything was written.
            async with asyncio.timeout(60):
                while True:
                    async with internal(database) as tx:
                        await tx.execute(insert)
        await pair.primary.ask("ALTER SYSTEM RESET default_transaction_read_only")
        await pair.primary.ask("SELECT pg_reload_conf()")
        await pair.primary.until("SELECT current_setting('default_transaction_read_only') = 'off'")
        async with internal(database) as tx:
            await tx.execute(insert)
    finally:
        await database.close()


async def test_after_a_failover_nodes_count_as_living_until_they_could_reconnect(pair: Pair) -> None:
    """The new primary knows none of their locks. The one that has died does not come, and is dead soon."""
    living = "SELECT id FROM living_nodes"
    node, gone = Node(pair.dsn(), RandomIds(), SystemClock()), uuid4()
    alone = f"SELECT '{node.id}' IN ({living}) AND '{gone}' NOT IN ({living})"
    moved: list[Moved | None] = []
    node.reconnect.append(moved.append)
    await node.start()
    try:
        dead = f"'{gone}', 1, now() - interval '20 seconds', pg_postmaster_start_time()"
        insert = f"INSERT INTO nodes (id, lock_key, expires_at, server_started) VALUES ({dead}) RETURNING true"
        await pair.primary.ask(insert, "stoa")
        await until(pair, alone)
        pair.primary.kill()
        await pair.promote()
        await until(pair, f"SELECT '{gone}' IN ({living})")  # Nobody has come, or the first one came just now.
        async with asyncio.timeout(30):
            while not moved:
                await asyncio.sleep(0.01)
        assert moved[0] is not None
        assert moved[0].address == "{}:{}".format(*pair.primary.way.address)
        await until(pair, alone)
    finally:
        await node.stop()
        await pair.attach()


async def until(pair: Pair, statement: str) -> None:
    async with asyncio.timeout(30):
        while not await pair.primary.ask(statement, "stoa"):
            await asyncio.sleep(0.05)
