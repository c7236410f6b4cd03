#!/usr/bin/env python3
"""A rolling upgrade under load: a node of an earlier commit, then one of this tree on the same database.

python bench/upgrade.py --before COMMIT [--rows 1000000] [--seconds 20]

The second one migrates the database. It prints, for each phase, how many messages each node answered, what failed, and
the longest time of a message and of a statement on any large table. `held` are locks on large tables that block readers
or writers, from when pg_locks first shows them until it does not: unlike the times of statements, they do not depend on
other load.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

ROOT = Path(__file__).parents[1]
KEY = "stoa_acc_" + "u" * 64
LARGE = ("runs", "messages", "conversations", "events", "journals", "model_calls", "audit")
STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
HELD = """
SELECT c.relname, l.mode, l.pid || ' ' || l.virtualtransaction AS of FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.mode = ANY ($1) AND c.relname = ANY ($2) AND a.backend_type = 'client backend'
"""
BLOCKED = """
SELECT a.pid || a.query_start::text AS of, left(a.query, 40) AS waiting,
       translate(left(b.query, 60), E'\\n', ' ') AS behind
FROM pg_stat_activity a CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS p (pid)
JOIN pg_stat_activity b ON b.pid = p.pid
WHERE a.wait_event_type = 'Lock' AND a.query LIKE 'SELECT 1 FROM %'
"""
FILL = """
INSERT INTO conversations (org_id, project_id, id, title, model_id)
    SELECT o.org_id, o.project_id, ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Filled ' || n,
        o.model_id
    FROM (SELECT org_id, project_id, model_id FROM conversations LIMIT 1) o, generate_series(1, {tenth}) n;
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status)
    SELECT org_id, project_id, id, p, gen_random_uuid(), 'user', '[]', 'filled ' || p, 'completed'
    FROM conversations, generate_series(1, 10) p WHERE title LIKE 'Filled %';
INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT org_id, project_id, ('00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, 1, '{{}}'
    FROM (SELECT org_id, project_id FROM conversations LIMIT 1) o, generate_series(1, {rows}) n;
INSERT INTO audit (org_id, action) SELECT org_id, 'filled' FROM (SELECT org_id FROM orgs_of_bench LIMIT 1) o,
    generate_series(1, {rows});
""".replace("orgs_of_bench", "(SELECT id AS org_id FROM orgs) x")


@dataclass
class Phase:
    name: str
    answered: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    message_seconds_max: float = 0
    statement_seconds_max: dict[str, float] = field(default_factory=dict)
    held: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """By table, mode and transaction: when it was first seen and last."""
    blocked: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """By statement of a reader or writer and the one that it waited for."""


class Bench:
    def __init__(self) -> None:
        self.phase = Phase("nobody")
        self.nodes: dict[str, str] = {}
        self.stopping = asyncio.Event()

    async def talk(self, number: int) -> None:
        """One conversation after another, on whichever nodes there are."""
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
            turn = number
            while not self.stopping.is_set():
                turn += 1
                name, url = list(self.nodes.items())[turn % len(self.nodes)]
                phase, begun = self.phase, time.monotonic()
                try:
                    models = (await client.get(f"{url}/v1/router/models")).json()["data"]
                    made = await client.post(f"{url}/v1/conversations", json={"model_id": models[0]["id"]})
                    path = f"/v3/conversations/{made.json()['data']['id']}/messages"
                    answered = await client.post(url + path, json={"content": "Hi", "stream": False})
                    if answered.status_code != 200 or answered.json()["data"]["status"] != "completed":
                        phase.failed.append(f"{name}: {answered.status_code} {answered.text[:200]}")
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    phase.failed.append(f"{name}: {error!r}")
                phase.answered[name] = phase.answered.get(name, 0) + 1
                phase.message_seconds_max = max(phase.message_seconds_max, time.monotonic() - begun)

    async def watch(self, dsn: str, table: str) -> None:
        """A reader and a writer that run continuously: how long does a lock block them?"""
        connection = await asyncpg.connect(dsn)
        try:
            while not self.stopping.is_set():
                phase, begun = self.phase, time.monotonic()
                await connection.execute(f"SELECT 1 FROM {table} LIMIT 1; DELETE FROM {table} WHERE false")
                took = time.monotonic() - begun
                phase.statement_seconds_max[table] = max(phase.statement_seconds_max.get(table, 0), took)
                await asyncio.sleep(0.01)
        finally:
            await connection.close()

    async def watch_locks(self, dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            while not self.stopping.is_set():
                phase, asked = self.phase, time.monotonic()
                for row in await connection.fetch(HELD, STRONG, LARGE):
                    seen = phase.held.setdefault((row["relname"], row["mode"], row["of"]), [asked, asked])
                    seen[1] = time.monotonic()
                asked = time.monotonic()
                for row in await connection.fetch(BLOCKED):
                    seen = phase.blocked.setdefault((row["waiting"], row["behind"], row["of"]), [asked, asked])
                    seen[1] = time.monotonic()
                await asyncio.sleep(0.002)
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def node(source: Path, data_dir: Path, log: Path):
    """`stoa serve` of a source tree; returns its URL once it is ready."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOA_")}
    environment |= {"PYTHONPATH": str(source / "src"), "STOA_BOOTSTRAP_KEY": KEY}
    command = [sys.executable, "-m", "stoa", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        url = ""
        while line := (await process.stdout.readline()).decode():
            if line.startswith("Stoa is ready at "):
                url = line.split()[4]
            if line.startswith("curl -sN"):
                break
        assert url, log.read_text()
        yield url
    finally:
        process.terminate()
        await process.wait()


async def run(before: str, rows: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        archive = home / "old.tar"
        subprocess.run(["git", "archive", "-o", str(archive), before, "src"], cwd=ROOT, check=True)
        with tarfile.open(archive) as packed:
            packed.extractall(home / "old", filter="data")
        bench, phases = Bench(), list[Phase]()

        def begin(phase: str) -> None:
            bench.phase = Phase(phase)
            phases.append(bench.phase)

        async with node(home / "old", home / "data", home / "old.log") as old:
            dsn = f"postgresql://stoa@/stoa?host={home / 'data' / 'postgres' / 'run'}&port=5432"
            bench.nodes = {"old": old}
            async with asyncio.TaskGroup() as crew:
                begin("the old node alone")
                talkers = [crew.create_task(bench.talk(number)) for number in range(4)]
                await asyncio.sleep(3)
                connection = await asyncpg.connect(dsn)
                schema = await connection.fetchval("SELECT max(number) FROM stoa_migrations")
                await connection.execute(FILL.format(rows=rows, tenth=rows // 10), timeout=3600)
                await connection.execute("ANALYZE", timeout=600)
                await connection.close()
                for table in LARGE:
                    crew.create_task(bench.watch(dsn, table))
                crew.create_task(bench.watch_locks(dsn))
                begin("the old node alone, large tables")
                await asyncio.sleep(seconds)
                begin("the new node starts and migrates")
                started = time.monotonic()
                async with node(ROOT, home / "data", home / "new.log") as new:
                    took = time.monotonic() - started
                    begin("both nodes on the new schema")
                    bench.nodes = {"old": old, "new": new}
                    await asyncio.sleep(seconds)
                    begin("draining")
                    bench.stopping.set()
                    await asyncio.gather(*talkers)
        print(f"{before}, schema {schema}; {rows:,} rows; the new node was ready after {took:.1f} s")
        for phase in phases[1:]:
            worst = max(phase.statement_seconds_max.items(), key=lambda one: one[1], default=("", 0.0))
            print(
                f"{phase.name}: answered {phase.answered}, failed {len(phase.failed)}; slowest message"
                f" {phase.message_seconds_max:.2f} s; slowest statement {worst[1] * 1000:.0f} ms ({worst[0]})"
            )
            for (table, mode, _), (first, last) in sorted(phase.held.items(), key=lambda one: one[1][0] - one[1][1])[
                :5
            ]:
                print(f"  held {(last - first) * 1000:.0f} ms: {mode} on {table}")
            for (waiting, behind, _), (first, last) in sorted(
                phase.blocked.items(), key=lambda one: one[1][0] - one[1][1]
            )[:5]:
                print(f"  waited {(last - first) * 1000:.0f} ms: {waiting} behind {behind}")
            for line in phase.failed[:5]:
                print(f"  {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    asyncio.run(run(chosen.before, chosen.rows, chosen.seconds))
