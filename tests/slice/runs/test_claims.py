"""Whose runs a node claims: those of dead nodes first, then one project after another and one key after another, by an
index alone."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from stoa.kernel.leases import Places
from stoa.runs.store import SQL

pytestmark = pytest.mark.timeout(60)
ORG, ME = uuid4(), uuid4()
RUN = """
INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, status, options, input,
    created_by, created_at, node_id, queued_at)
SELECT $1, $2, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, $3, '{}', '{}', $4,
       now() + ($5::float8 + n) * interval '1 second', $6, $7
FROM generate_series(1, $8::int) n
"""


class Table:
    """The table of runs, without what stands around it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def add(
        self,
        count: int,
        project: UUID,
        *,
        key: UUID | None = None,
        status: str = "created",
        at: float = 0,
        node: UUID | None = None,
        queued_at: Any = None,
    ) -> None:
        await self.connection.execute(RUN, ORG, project, status, key, at, node, queued_at, count)

    async def claim(self, places: Places, limit: int = 50) -> Sequence[asyncpg.Record]:
        wanted = places.wanted(limit)
        rows = await self.connection.fetch(SQL.claim, ME, *wanted.arguments())
        for row in rows:
            places.take(row["project_id"])
        places.served([row["project_id"] for row in rows])
        return rows


@pytest.fixture
async def table(dsn: str) -> AsyncIterator[Table]:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET session_replication_role = replica")  # Runs alone: no conversations to refer to.
    yield Table(connection)
    await connection.close()


async def test_projects_take_turns_and_keys_within_them(table: Table) -> None:
    greedy, modest, key, other = uuid4(), uuid4(), uuid4(), uuid4()
    await table.add(500, greedy, key=key)
    await table.add(3, greedy, key=other, at=1_000)  # Sent long after the others.
    await table.add(2, greedy, at=2_000)  # Of no key.
    await table.add(2, modest, at=3_000)
    rows = await table.claim(Places(100), 12)
    assert Counter(row["project_id"] for row in rows) == {greedy: 10, modest: 2}
    keys = Counter(row["created_by"] for row in rows if row["project_id"] == greedy)
    assert (keys[other], keys[None]) == (3, 2), "what little the others want comes before the rest of the greedy one's"
    assert {(row["status"], row["node_id"], row["attempt"]) for row in rows} == {("started", ME, 1)}


async def test_single_free_places_go_to_each_project_in_turn(table: Table) -> None:
    projects = [uuid4() for _ in range(4)]
    for project in projects:
        await table.add(20, project)
    places = Places(1_000)
    turns = [(await table.claim(places, 1))[0]["project_id"] for _ in range(12)]
    assert turns == sorted(projects) * 3


async def test_the_oldest_of_a_key_is_first(table: Table) -> None:
    project = uuid4()
    for at in (30, 10, 20):
        await table.add(1, project, at=at)
    places = Places(10)
    claimed = [(await table.claim(places, 1))[0]["created_at"] for _ in range(3)]
    assert claimed == sorted(claimed)


async def test_a_project_gets_no_more_than_its_share(table: Table) -> None:
    capped, other = uuid4(), uuid4()
    await table.add(50, capped, key=uuid4())
    await table.add(50, capped, key=uuid4())
    places = Places(40, 5)
    places.take(capped)
    places.take(capped)
    assert Counter(row["project_id"] for row in await table.claim(places)) == {capped: 3}
    assert await table.claim(places) == []
    await table.add(9, other)
    assert Counter(row["project_id"] for row in await table.claim(places)) == {other: 5}


async def test_projects_without_room_do_not_hide_those_behind_them(table: Table) -> None:
    full, last = sorted(uuid4() for _ in range(61)), UUID(int=2**128 - 1)
    places = Places(1_000, 1)
    for project in full:
        await table.add(1, project)
        places.take(project)
    await table.add(1, last)
    assert [row["project_id"] for row in await table.claim(places)] == [last]


async def test_runs_of_dead_nodes_come_first_whatever_room_their_project_has(table: Table) -> None:
    project, dead = uuid4(), uuid4()
    while await table.connection.fetchval("SELECT pg_postmaster_start_time() > now() - interval '2.5 seconds'"):
        await asyncio.sleep(0.05)
    await table.connection.execute(
        "INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, 1, now() - interval '1 second')", dead
    )
    await table.connection.execute(
        "INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, 2, now() + interval '1 minute')", ME
    )
    await table.add(2, project, status="started", node=dead)
    await table.add(1, project, status="started", node=uuid4(), at=5)  # Of a node without a row.
    await table.add(3, project, status="started", node=ME)
    await table.add(3, project, at=9)
    places = Places(100, 3)
    for _ in range(3):
        places.take(project)
    rows = await table.claim(places)
    assert len(rows) == 3
    assert {row["created_at"] for row in rows}.isdisjoint(
        {
            row["created_at"]
            for row in await table.connection.fetch("SELECT created_at FROM runs WHERE status = 'created'")
        }
    )
    assert await table.claim(places) == [], "its own runs, and what has no room, are left"


async def test_runs_that_must_not_be_claimed_are_left(table: Table) -> None:
    project = uuid4()
    for status in ("paused", "completed", "failed", "canceled"):
        await table.add(1, project, status=status)
    now = await table.connection.fetchval("SELECT now()")
    await table.add(1, project, queued_at=now)
    assert await table.claim(Places(10)) == []


async def test_two_nodes_claim_nothing_twice(table: Table, dsn: str) -> None:
    projects = [uuid4() for _ in range(5)]
    for project in projects:
        await table.add(30, project, key=uuid4())
    other = await asyncpg.connect(dsn)
    try:
        claimed: list[UUID] = []

        async def claim(connection: asyncpg.Connection) -> None:
            places = Places(1_000)
            while rows := await Table(connection).claim(places, 7):
                claimed.extend(row["id"] for row in rows)

        async with asyncio.timeout(30):
            await asyncio.gather(claim(table.connection), claim(other))
        assert len(claimed) == len(set(claimed)) == 150
    finally:
        await other.close()


@pytest.mark.parametrize("name", ["claim", "own", "give_back", "waiting"])
async def test_no_claim_reads_the_runs_that_have_ended(table: Table, name: str) -> None:
    """Also by the generic plan that a prepared statement comes to: the indexes hold live runs only, however many have
    ended."""
    await table.add(60_000, uuid4(), status="completed", key=uuid4())
    await table.add(2_000, uuid4(), key=uuid4())
    await table.add(200, uuid4(), status="started", node=uuid4())
    await table.connection.execute("ANALYZE runs")
    statement = getattr(SQL, name)
    parameters = len(set(re.findall(r"\$\d+", statement)))
    await table.connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE planned AS {statement}")
    nulls = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    plan = "\n".join(row[0] for row in await table.connection.fetch(f"EXPLAIN EXECUTE planned{nulls}"))
    assert "Seq Scan on runs" not in plan, plan
    if name == "claim":
        before = await table.connection.fetchval("SELECT clock_timestamp()")
        assert len(await table.claim(Places(100))) > 0
        took = await table.connection.fetchval("SELECT clock_timestamp()") - before
        assert took.total_seconds() < 0.5
