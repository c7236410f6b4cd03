#!/usr/bin/env python3
"""What NOTIFY costs the commits of several nodes that share one database, with fsync on.

    python bench/notifying.py [--nodes 1,4,16] [--seconds 5] [--commit-ms 10]

Each node is a journal writer as in the server: one tick at a time, each a commit, and notifications for other nodes.
Its runs write an event and wait until it is stored. The database is a new embedded one. A listening session measures
how long after its write an event is announced. `stored` is the time from the write until the event may be shown; `db
ms` is the database's CPU per tick. `--commit-ms` makes each flush take longer (`commit_delay`), as a synchronous
standby would: then the figures depend less on other load. To compare two trees, run it in both alternately within the
same hour.
"""

import argparse
import asyncio
import inspect
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from stoa.db import Database
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.events import EventType, TextDelta
from stoa.journal import Head, JournalKey, JournalWriter, LiveBuffer
from stoa.kernel.clock import SystemClock

PROCESSES = 2
COLUMNS = ("ticks/s", "events/s", "stored p50", "p99", "heard p50", "p99", "heard", "db ms")


async def node(dsn: str, runs: int, live: LiveBuffer) -> tuple[JournalWriter, list[Any]]:
    """One node's writer and its runs, which start writing."""
    database = await Database.open(dsn, connections_max=2)
    lent = [database.notifier] if "notifier" in inspect.signature(JournalWriter).parameters else []
    writer = JournalWriter(dsn, live, SystemClock(), *lent)
    writer.others = lambda: True
    await writer.start()
    connection = await asyncpg.connect(dsn)
    keys = [JournalKey(uuid4(), uuid4()) for _ in range(runs)]
    await connection.executemany(
        "INSERT INTO journals (org_id, project_id, run_id, epoch) VALUES ($1, $2, $3, 1)",
        [(key.org_id, uuid4(), key.run_id) for key in keys],
    )
    await connection.close()
    return writer, [database, *keys]


async def work(dsn: str, nodes: int, runs: int, seconds: float) -> dict[str, list[float]]:
    live, written, stored, heard = LiveBuffer(), {}, [], []

    def hear(_: object, __: int, ___: str, payload: object) -> None:
        now = time.perf_counter()
        text = str(payload)
        for start in range(0, len(text), 32):
            if (at := written.pop(text[start : start + 32], None)) is not None:
                heard.append(now - at)

    listening = await asyncpg.connect(dsn)
    await listening.add_listener("stoa_journal", hear)
    made = [await node(dsn, runs, live) for _ in range(nodes)]
    end = time.perf_counter() + seconds

    async def write(writer: JournalWriter, key: JournalKey) -> None:
        run = writer.open(key, Head(1, 0, sealed=False))
        name: UUID = key.run_id
        while (at := time.perf_counter()) < end:
            written.setdefault(name.hex, at)  # The oldest one that was not announced yet.
            run.write(TextDelta(EventType.RESPONSE_DELTA, "word ", 1))
            await run.flush()
            stored.append(time.perf_counter() - at)

    await asyncio.gather(*(write(writer, key) for writer, (_, *keys) in made for key in keys))
    ticks = 0.0
    for writer, (database, *_) in made:
        (histogram,) = [metric for metric in writer.metrics() if metric.name == "stoa_journal_tick_seconds"]
        ticks += sum(sum(held[:-1]) for held in histogram.values.values())
        await writer.stop()
        await database.close()
    await listening.close()
    return {"stored": stored, "heard": heard, "ticks": [ticks]}


def process(dsn: str, nodes: int, runs: int, seconds: float, answer: Any) -> None:
    answer.send(asyncio.run(work(dsn, nodes, runs, seconds)))


def cpu_seconds(postmaster: int) -> float:
    """Of the server and all its processes."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == postmaster or stat.parent.name == str(postmaster):
            total += sum(map(int, fields[11:15])) / ticks
    return total


def measure(dsn: str, postmaster: int, nodes: int, runs: int, seconds: float) -> tuple[float, ...]:
    before = cpu_seconds(postmaster)
    parts = [nodes // PROCESSES + (place < nodes % PROCESSES) for place in range(PROCESSES)]
    crew = []
    for part in parts:
        if part:
            here, there = multiprocessing.Pipe()
            crew.append((multiprocessing.Process(target=process, args=(dsn, part, runs, seconds, there)), here))
    for one, _ in crew:
        one.start()
    found = [here.recv() for _, here in crew]
    for one, _ in crew:
        one.join()
    used = cpu_seconds(postmaster) - before
    stored, heard, ticks = (sorted(x for one in found for x in one[name]) for name in ("stored", "heard", "ticks"))

    def at(part: float, of: list[float]) -> float:
        return of[int(len(of) * part)] * 1e3 if of else 0.0

    return (
        sum(ticks) / seconds,
        len(stored) / seconds,
        at(0.5, stored),
        at(0.99, stored),
        at(0.5, heard),
        at(0.99, heard),
        len(heard),
        used * 1e3 / max(1.0, sum(ticks)),
    )


async def prepared(home: Path, commit_ms: float) -> Any:
    embedded = await start_embedded(home / "cluster")
    await migrate(embedded.dsn)
    connection = await asyncpg.connect(embedded.dsn)
    for name, value in {"commit_delay": int(commit_ms * 1000), "commit_siblings": 0}.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    return embedded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,4,16")
    parser.add_argument("--runs", type=int, default=4, help="of each node")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--commit-ms", type=float, default=0.0)
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    print(
        f"{platform.platform()}, Python {platform.python_version()}; {options.runs} runs a node; milliseconds; "
        f"commits take {options.commit_ms} ms more"
    )
    print(f"{'nodes':<8}" + "".join(f"{name:>12}" for name in COLUMNS), flush=True)
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
        Path(home).chmod(0o755)
        embedded = asyncio.run(prepared(Path(home), options.commit_ms))
        postmaster = int(next(Path(home).rglob("postmaster.pid")).read_text().split()[0])
        try:
            for nodes in map(int, options.nodes.split(",")):
                found = measure(embedded.dsn, postmaster, nodes, options.runs, options.seconds)
                print(f"{nodes:<8}" + "".join(f"{value:>12,.2f}" for value in found), flush=True)
        finally:
            asyncio.run(embedded.stop())


if __name__ == "__main__":
    main()
