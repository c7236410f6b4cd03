#!/usr/bin/env python3
"""What managing costs in a large organization: pages, single objects and changes at a steady rate.

    python bench/management.py [--conversations 100000] [--projects 1000] [--rate 200] [--seconds 20]

Fills a database (the database itself generates the rows), starts `stoa serve` on one core with its database on the
other, and sends requests at the rate, whether or not earlier ones were answered. It prints, by kind of request, their
number and the times in milliseconds; and the CPU of node and database per request, which other load affects least: `per
core` is how many a core of the node serves in a second.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
from bed import KEY, machine, move_database, serving

from stoa.db.embedded import start_embedded

MIX: Final = {
    "projects, a page": 2,
    "project": 2,
    "project, renamed": 1,
    "conversations, page 1": 4,
    "conversations, a later page": 2,
    "conversation": 6,
    "conversation, renamed": 2,
    "conversation, made": 2,
    "runs, page 1": 2,
    "keys, a page": 1,
    "audit, a page": 1,
    "models": 1,
}
"""Kinds of requests, with their frequency."""


def _stat(pid: int) -> tuple[int, float]:
    """(parent, CPU seconds, those of ended children included)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), sum(int(fields[at]) for at in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, family: bool) -> float:
    """Of a process, or with `family` of its children too."""
    total = _stat(pid)[1]
    for entry in Path("/proc").iterdir() if family else ():
        if entry.name.isdigit():
            try:
                parent, used = _stat(int(entry.name))
            except (OSError, IndexError):
                continue
            total += used if parent == pid else 0.0
    return total


async def fill(data_dir: Path, conversations: int, projects: int) -> None:
    embedded = await start_embedded(data_dir)
    connection = await asyncpg.connect(embedded.dsn, command_timeout=3600)
    try:
        await connection.execute(
            "INSERT INTO projects (org_id, id, name) SELECT o.id, gen_random_uuid(), 'Project ' || n"
            " FROM orgs o, generate_series(2, $1::int) n",
            projects,
        )
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "WITH places AS (SELECT org_id, id, row_number() OVER () - 1 AS place FROM projects)"
            " INSERT INTO conversations (org_id, project_id, id, title, model_id, created_at, updated_at, owner_id)"
            " SELECT p.org_id, p.id, gen_random_uuid(), 'Talk ' || n, (SELECT id FROM models LIMIT 1), at, at, NULL"
            " FROM generate_series(1, $1::int) n JOIN places p ON p.place = n % $2::int,"
            " LATERAL (SELECT now() - n * interval '10 seconds') AS made (at)",
            conversations,
            projects,
        )
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
        await embedded.stop()


class Load:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.times: dict[str, list[float]] = defaultdict(list)
        self.refused: dict[str, int] = defaultdict(int)
        self.projects: list[str] = []
        self.talks: list[str] = []
        self.model = ""

    async def prepare(self) -> None:
        self.model = (await self._call("GET", "/v1/router/models"))["data"][0]["id"]
        self.projects = [one["id"] for one in (await self._call("GET", "/v1/projects?page_size=500"))["data"]]
        self.talks = [one["id"] for one in (await self._call("GET", "/v1/conversations?page_size=500"))["data"]]

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as answer:
            if answer.status >= 400:
                self.refused[f"{method} {path.partition('?')[0][:24]} {answer.status}"] += 1
            return await answer.json()

    async def one(self, kind: str) -> None:
        project, talk = random.choice(self.projects), random.choice(self.talks)
        number = random.randint(1, 30)
        calls: dict[str, tuple[str, str, Any]] = {
            "projects, a page": ("GET", f"/v1/projects?page={number}", None),
            "project": ("GET", f"/v1/projects/{project}", None),
            "project, renamed": ("PUT", f"/v1/projects/{project}", {"name": f"Project {number}"}),
            "conversations, page 1": ("GET", "/v1/conversations", None),
            "conversations, a later page": ("GET", f"/v1/conversations?page={number}", None),
            "conversation": ("GET", f"/v1/conversations/{talk}", None),
            "conversation, renamed": ("PATCH", f"/v1/conversations/{talk}", {"title": f"Talk {number}"}),
            "conversation, made": ("POST", "/v1/conversations", {"model_id": self.model}),
            "runs, page 1": ("GET", "/v1/runs", None),
            "keys, a page": ("GET", "/v1/access-keys", None),
            "audit, a page": ("GET", "/v1/audit", None),
            "models": ("GET", "/v1/router/models", None),
        }
        begun = time.perf_counter()
        await self._call(*calls[kind])
        self.times[kind].append((time.perf_counter() - begun) * 1000)

    async def steady(self, rate: float, seconds: float) -> None:
        kinds, weights = list(MIX), list(MIX.values())
        begun, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while (now := time.perf_counter() - begun) < seconds:
                while sent < now * rate:
                    group.create_task(self.one(random.choices(kinds, weights)[0]))
                    sent += 1
                await asyncio.sleep(0.002)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def measure(url: str, node: int, database: int, rate: float, seconds: float) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=64)) as session:
        load = Load(session, url)
        await load.prepare()
        await load.steady(rate, 2)  # Plans, caches, connections.
        load.times.clear()
        load.refused.clear()
        before = cpu_seconds(node, family=False), cpu_seconds(database, family=True)
        await load.steady(rate, seconds)
        after = cpu_seconds(node, family=False), cpu_seconds(database, family=True)
    every = [one for values in load.times.values() for one in values]
    print(f"{'':32}{'count':>7}{'p50':>9}{'p99':>9}")
    for kind in [*MIX, "all"]:
        values = every if kind == "all" else load.times[kind]
        if values:
            print(f"{kind:32}{len(values):>7}{quantile(values, 0.5):>9.1f}{quantile(values, 0.99):>9.1f}")
    node_ms, database_ms = [(b - a) * 1000 / len(every) for a, b in zip(before, after, strict=True)]
    print(
        f"refused {dict(load.refused)}; node {node_ms:.2f} ms and database {database_ms:.2f} ms of CPU a request:"
        f" {1000 / node_ms:.0f} requests/s per core of the node"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
        Path(home).chmod(0o755)
        data_dir = Path(home) / "data"
        with serving(data_dir):
            pass
        await fill(data_dir, chosen.conversations, chosen.projects)
        with serving(data_dir) as (server, url):
            await measure(url, server.pid, move_database(Path(home)), chosen.rate, chosen.seconds)


if __name__ == "__main__":
    asyncio.run(main())
