"""A trace's row, kept in step from the row itself, says what all of its spans say."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from stoa.db import Database
from stoa.db.internal import internal
from stoa.traces.store import SQL
from stoa.traces.storing import store_spans
from stoa.traces.types import Span

START = datetime(2026, 3, 1, tzinfo=UTC)


async def home(dsn: str) -> tuple[UUID, UUID]:
    org_id, project_id = uuid4(), uuid4()
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("INSERT INTO orgs (id, name) VALUES ($1, 'o')", org_id)
        await connection.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'p')", org_id, project_id)
    finally:
        await connection.close()
    return org_id, project_id


def some_span(choose: random.Random) -> Span:
    started_at = START + timedelta(seconds=choose.randrange(5))
    ended_at = choose.choice([None, started_at + timedelta(seconds=choose.randrange(9))])
    return Span(
        trace_id=choose.choice("XYZ"),
        id=choose.choice("abcdefgh"),
        parent_id=choose.choice([None, "a", "elsewhere"]),
        wire="sdk",
        name=choose.choice(["One", "Two", "Ärger"]),
        type="node",
        status=choose.choice(["succeeded", "failed", "canceled", "skipped"]) if ended_at else None,
        started_at=started_at,
        ended_at=ended_at,
        body={"input": "x"},
        source_id=choose.choice(["s", "S", "ß", None]),
        session_id=choose.choice(["1", None]),
        user_id=choose.choice(["ada", "Bob", None]),
        model=choose.choice(["m", "n", None]),
        prompt_tokens=choose.choice([None, 3]),
        completion_tokens=choose.choice([None, 4]),
        cost_usd=choose.choice([None, 0.25]),
        tags=choose.choice([[], ["t"], ["u", "v"]]),
    )


async def test_the_row_of_a_trace_is_what_its_spans_sum_up_to(dsn: str) -> None:
    org_id, project_id = await home(dsn)
    database = await Database.open(dsn, connections_max=1)
    choose = random.Random(88)
    left_out = {"received_at"}
    try:
        for _ in range(60):
            batch = {
                (span.trace_id, span.id): span for span in (some_span(choose) for _ in range(choose.randrange(1, 6)))
            }
            # Half of the time a report of the same step again, as an SDK sends it: later, and finished.
            if choose.random() < 0.5:
                batch |= {
                    key: replace(span, ended_at=span.started_at + timedelta(seconds=20), status="failed")
                    for key, span in batch.items()
                }
            async with internal(database) as tx:
                await store_spans(tx, org_id, project_id, list(batch.values()))
            async with internal(database) as tx:
                rows = "SELECT * FROM traces WHERE org_id = $1 ORDER BY id"
                kept = [dict(row) for row in await tx.fetch(rows, org_id)]
                await tx.execute(SQL.sum_up_traces, org_id, project_id, [row["id"] for row in kept])
                summed = [dict(row) for row in await tx.fetch(rows, org_id)]
            for before, after in zip(kept, summed, strict=True):
                assert {name: before[name] for name in before if name not in left_out} == {
                    name: after[name] for name in after if name not in left_out
                }
    finally:
        await database.close()


async def test_a_long_trace_costs_no_more_than_its_new_spans(dsn: str) -> None:
    """Counted in the rows that PostgreSQL reads, not in time."""
    org_id, project_id = await home(dsn)
    database = await Database.open(dsn, connections_max=1)
    spans = [
        replace(
            some_span(random.Random(number)), trace_id="long", id=f"{number}", parent_id="r", ended_at=None, status=None
        )
        for number in range(2_000)
    ]
    try:
        async with internal(database) as tx:
            await store_spans(tx, org_id, project_id, spans)
        async with internal(database) as tx:
            before = await tx.fetchval(READ)
            await store_spans(tx, org_id, project_id, [replace(spans[0], id="new")])
            assert await tx.fetchval(READ) - before < 20
            row = await tx.fetchrow("SELECT span_count, open_count FROM traces WHERE org_id = $1", org_id)
            assert row is not None
            assert tuple(row) == (2_001, 2_001)
    finally:
        await database.close()


READ = """SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint
FROM pg_stat_xact_user_tables WHERE relname = 'spans'"""
