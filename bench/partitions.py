#!/usr/bin/env python3
"""What partitions by day would cost and save for the journal's events: one table against one partition per day.

    python bench/partitions.py [--events 10000000] [--days 30] [--data DIR]

A run's id begins with its time, so a table partitioned by ranges of run_id keeps its primary key and its statements.
Both kinds are filled in turn with the same events (fifty per run, spread over the days), and measured with the same
operations: appends in ticks (for one run, and for a thousand), a page of a run's events, the removal of a day with the
VACUUM that follows, and detaching and dropping a day. Figures are medians in milliseconds unless stated otherwise.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import asyncpg
from bed import machine

from stoa.db.embedded import start_embedded

ORG, PROJECT = UUID(int=1), UUID(int=2)
PAYLOAD: Final = (
    b'{"id":"0000002a-0000-8000-8000-000000000000","type":"agent.response.delta","sequence":42,'
    b'"timestamp":"2026-06-10T09:11:02Z","data":{"object":"agent.response.delta","delta":" the customer"}}'
)
APPEND = """
INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
SELECT $1, $2, e.* FROM unnest($3::uuid[], $4::int[], $5::smallint[], $6::bytea[])
    AS e (run_id, sequence, kind, payload)
"""
READ = """
SELECT sequence, kind, payload FROM events WHERE org_id = $1 AND run_id = $2 AND sequence > 0
ORDER BY sequence LIMIT 500
"""
COLUMNS = """
org_id uuid NOT NULL, project_id uuid NOT NULL, run_id uuid NOT NULL, sequence int NOT NULL, kind smallint NOT NULL,
payload bytea NOT NULL
"""


def floor(moment: datetime) -> UUID:
    """The smallest id of that moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def run_id(moment: datetime) -> UUID:
    return UUID(int=floor(moment).int | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1)


async def make(db: asyncpg.Connection, partitioned: bool, first: datetime, days: int) -> None:
    await db.execute("DROP TABLE IF EXISTS events CASCADE")
    by = "PARTITION BY RANGE (run_id)" if partitioned else "WITH (autovacuum_enabled = false)"
    await db.execute(f"CREATE TABLE events ({COLUMNS}, PRIMARY KEY (org_id, run_id, sequence)) {by}")
    await db.execute("CREATE INDEX events_of_day ON events USING brin (run_id)")
    if partitioned:
        for day in range(days + 1):
            start, end = first + timedelta(days=day), first + timedelta(days=day + 1)
            await db.execute(
                f"CREATE TABLE events_{day} PARTITION OF events FOR VALUES FROM ('{floor(start)}') TO ('{floor(end)}')"
                " WITH (autovacuum_enabled = false)"
            )


async def fill(db: asyncpg.Connection, first: datetime, days: int, events: int) -> None:
    """Day by day, in the order of the runs."""
    runs = events // 50 // days
    for day in range(days):
        at = first + timedelta(days=day)
        await db.execute(
            """INSERT INTO events SELECT $1, $2, r.id, s, 3, $6 FROM (
                 SELECT (lpad(to_hex(($3::bigint + n * 86400000 / $4)::bigint), 12, '0') || '7'
                     || substr(md5($5 || '-' || n), 1, 3) || '8' || substr(md5($5 || '-' || n), 4, 15))::uuid AS id
                 FROM generate_series(0, $4::bigint - 1) n) r CROSS JOIN generate_series(1, 50) s""",
            ORG, PROJECT, int(at.timestamp() * 1000), runs, str(day), PAYLOAD,
        )  # fmt: skip
    await db.execute("VACUUM (ANALYZE) events")
    await db.execute("CHECKPOINT")


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    took: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await work()
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def cpu(pid: int) -> float:
    """Milliseconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10.0


async def appends(db: asyncpg.Connection, runs: int, each: int, ticks: int, now: datetime) -> tuple[float, float]:
    """Median of a tick, and the backend's CPU for 1,000 events."""
    statement = await db.prepare(APPEND)
    ids = [run_id(now + timedelta(milliseconds=n)) for n in range(runs)]
    at = 0
    size = runs * each

    async def tick() -> None:
        nonlocal at
        sequences = [at + n for _ in ids for n in range(1, each + 1)]
        at += each
        await statement.fetch(
            ORG, PROJECT, [i for i in ids for _ in range(each)], sequences, [3] * size, [PAYLOAD] * size
        )

    await timed(tick, 20)
    pid = db.get_server_pid()
    before = await cpu(pid)
    took = await timed(tick, ticks)
    return statistics.median(took), (await cpu(pid) - before) / (ticks * size) * 1000


async def reads(db: asyncpg.Connection, ids: list[UUID]) -> float:
    statement = await db.prepare(READ)
    left = iter(ids)

    async def read() -> None:
        assert len(await statement.fetch(ORG, next(left))) == 50

    await timed(read, 50)
    return statistics.median(await timed(read, len(ids) - 50))


async def examine(db: asyncpg.Connection, partitioned: bool, events: int, days: int) -> dict[str, float]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=days)
    await make(db, partitioned, first, days)
    begun = time.perf_counter()
    await fill(db, first, days, events)
    found = {"filled, seconds": time.perf_counter() - begun}
    for name, runs, each, ticks in (("one run, 1 event", 1, 1, 4000), ("1,000 runs, 1 event each", 1000, 1, 200)):
        found[f"append, {name}"], found[f"append, {name}: CPU per 1,000"] = await appends(
            db, runs, each, ticks, today + timedelta(hours=1)
        )
    ids = [
        row["run_id"]
        for row in await db.fetch(
            "SELECT run_id FROM events TABLESAMPLE SYSTEM (0.1) WHERE run_id < $1 LIMIT 60000", floor(today)
        )
    ]
    found["a run's 50 events"] = await reads(db, list(dict.fromkeys(ids))[:1050])
    for day in (1, 2):
        low, high = floor(first + timedelta(days=day)), floor(first + timedelta(days=day + 1))
        pid = db.get_server_pid()
        if day == 2 and partitioned:
            begun = time.perf_counter()
            await db.execute("ALTER TABLE events DETACH PARTITION events_2 CONCURRENTLY")
            await db.execute("DROP TABLE events_2")
            found["a day detached and dropped, seconds"] = time.perf_counter() - begun
            continue
        before = await cpu(pid)
        begun = time.perf_counter()
        asked = "SELECT DISTINCT run_id FROM events WHERE run_id >= $1 AND run_id < $2"
        runs = [row["run_id"] for row in await db.fetch(asked, low, high)]
        for at in range(0, len(runs), 200):  # As conversations are deleted: by the ids of their runs.
            await db.execute("DELETE FROM events WHERE org_id = $1 AND run_id = ANY ($2)", ORG, runs[at : at + 200])
        number = " (the first)" if day == 1 else ""
        found[f"a day deleted in batches{number}, seconds"] = time.perf_counter() - begun
        found[f"its CPU{number}, seconds"] = (await cpu(pid) - before) / 1000
        before = await cpu(pid)
        begun = time.perf_counter()
        await db.execute("VACUUM events" if not partitioned else f"VACUUM events_{day}")
        found[f"VACUUM after that{number}, seconds"] = time.perf_counter() - begun
        found[f"its CPU of the VACUUM{number}, seconds"] = (await cpu(pid) - before) / 1000
    return found


async def run(events: int, days: int, home: Path) -> None:
    embedded = await start_embedded(home)
    order = (False, True)
    try:
        db = await asyncpg.connect(embedded.dsn, command_timeout=3600)
        try:
            print(machine())
            print(f"{events:,} events over {days} days")
            found = [await examine(db, partitioned, events, days) for partitioned in order]
        finally:
            await db.close()
    finally:
        await embedded.stop()
    print(f"{'':<52}{'one table':>12}{'by day':>12}")
    for name in dict.fromkeys([*found[0], *found[1]]):
        cells = [f"{one[name]:>12.3f}" if name in one else f"{'':>12}" for one in found]
        print(f"{name:<52}{''.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoa-bench-", dir=options.data) as home:
        Path(home).chmod(0o755)
        asyncio.run(run(options.events, options.days, Path(home)))


if __name__ == "__main__":
    main()
