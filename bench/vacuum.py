#!/usr/bin/env python3
"""What one day costs the database in removal and VACUUM: `python bench/vacuum.py --data DIR`.

DIR is a database of growth.py (`--data`, its folder `full`), which nobody else may use meanwhile. A day's rows are
deleted as the deletion of its conversations does it, by the ids of their runs, and inserted again; after each the
tables are vacuumed. It prints for each table: rows, CPU of the DELETE, of the VACUUM after it, and of the VACUUM after
the same rows were inserted, in seconds, and the write-ahead log of the three. Afterwards the database is as before.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from bed import machine

from stoa.db.embedded import start_embedded

TABLES = {
    "events": "run_id IN (SELECT id FROM day_runs)",
    "journals": "run_id IN (SELECT id FROM day_runs)",
    "messages": "conversation_id IN (SELECT id FROM day_conversations)",
    "runs": "id IN (SELECT id FROM day_runs)",
    "conversations": "id IN (SELECT id FROM day_conversations)",
    "spans": "received_at >= (SELECT since FROM day) AND received_at < (SELECT since FROM day) + interval '1 day'",
    "traces": "received_at >= (SELECT since FROM day) AND received_at < (SELECT since FROM day) + interval '1 day'",
}


class Measured:
    """CPU seconds of a backend and megabytes of WAL, for its work."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._pid = connection.get_server_pid()

    async def _now(self) -> tuple[float, int]:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / 100
        return cpu, await self._connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")

    async def of(self, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        cpu, log = await self._now()
        await work()
        after = await self._now()
        return after[0] - cpu, float(after[1] - log) / 1e6


async def measure(connection: asyncpg.Connection) -> None:
    await connection.execute("SET session_replication_role = replica; SET vacuum_cost_delay = 0")
    await connection.execute(
        "CREATE TEMP TABLE day AS"
        " SELECT date_trunc('day', min(created_at), 'UTC') + interval '2 days' AS since FROM runs"
    )
    for name in ("conversations", "runs"):
        await connection.execute(
            f"CREATE TEMP TABLE day_{name} AS SELECT id FROM {name}, day"
            " WHERE created_at >= since AND created_at < since + interval '1 day'; "
            f"ANALYZE day_{name}"
        )
    measured = Measured(connection)
    print(f"{'':<16}{'rows':>9}{'DELETE':>9}{'MB':>7}{'VACUUM':>9}{'MB':>7}{'after inserts':>15}{'MB':>7}")
    sums = [0.0] * 6
    for name, condition in TABLES.items():
        await connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {name} WHERE {condition}")
        rows = await connection.fetchval("SELECT count(*) FROM kept")
        if not rows:
            await connection.execute("DROP TABLE kept")
            continue
        columns = await connection.fetchval(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''", name
        )  # fmt: skip
        await connection.execute(f"VACUUM {name}")
        found = [
            *await measured.of(lambda name=name, condition=condition: connection.execute(
                f"DELETE FROM {name} WHERE {condition}")),
            *await measured.of(lambda name=name: connection.execute(f"VACUUM (PARALLEL 0) {name}")),
        ]  # fmt: skip
        await connection.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM kept")
        found += await measured.of(lambda name=name: connection.execute(f"VACUUM (PARALLEL 0, ANALYZE) {name}"))
        await connection.execute("DROP TABLE kept")
        sums = [one + other for one, other in zip(sums, found, strict=True)]
        line(name, rows, found)
    line("a day", None, sums)


def line(name: str, rows: int | None, found: list[float]) -> None:
    cells = f"{found[0]:>9.2f}{found[1]:>7.0f}{found[2]:>9.2f}{found[3]:>7.0f}{found[4]:>15.2f}{found[5]:>7.0f}"
    print(f"{name:<16}{'' if rows is None else f'{rows:,}':>9}{cells}", flush=True)


async def run(data_dir: Path) -> None:
    embedded = await start_embedded(data_dir)
    try:
        connection = await asyncpg.connect(embedded.dsn, command_timeout=3600)
        try:
            print(machine())
            await measure(connection)
        finally:
            await connection.close()
    finally:
        await embedded.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    asyncio.run(run(parser.parse_args().data))


if __name__ == "__main__":
    main()
