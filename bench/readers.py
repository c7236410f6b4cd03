#!/usr/bin/env python3
"""Readers that stall, and readers that connect late; and what limits of access keys cost.

    python bench/readers.py [--quick]

Starts an embedded PostgreSQL, a scripted model and one node (`stoa serve`), all on this machine, and prints:

- stalled: a run of 2 MB in 2,000 pieces, one each 5 ms, while so many connections have requested its stream and stopped
reading: by how much the run took longer than its pace, how late its pieces reached a reader that reads, the node's
memory before and at the end, and the kernel's memory for all sockets
- replayed: a finished run of 100,000 events, read from its first: seconds to the first byte, events/s, the node's
memory before and at its peak
- limited: the time of a request with a key without limits, and with a rate limit
"""

import argparse
import asyncio
import contextlib
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import httpx

from stoa.db.embedded import start_embedded
from tests.support.nodes import KEY, Node, script
from tests.support.scripted_model import ScriptedServer
from tests.support.slow_readers import fill, stalled_readers

PIECES, PACE_SECONDS = 2_000, 0.005
EVENTS = 100_000


def megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096 / 1e6


def kernel_megabytes() -> float:
    """The memory of TCP buffers of the whole machine."""
    line = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    return int(line.split()[-1]) * 4_096 / 1e6


async def stalled(node: Node, count: int) -> None:
    run_id = await node.send(
        await node.conversation(),
        script(pieces=["x" * 1_000] * PIECES, delay=PACE_SECONDS, first_delay=2 + count / 150),
    )
    held = kernel_megabytes()
    before, late, begun, last = megabytes(node.process.pid), [], 0.0, 0
    async with stalled_readers(node.url, f"/v1/runs/{run_id}/stream", count, KEY):
        async for event, _ in node.follow(run_id):
            if event["type"] == "agent.response.delta":
                now, said = time.monotonic(), len(event["data"]["delta"]) // 1_000
                begun, last = begun or now, last + said
                late.append(now - begun - (last - said) * PACE_SECONDS)
        took, after, kernel = time.monotonic() - begun, megabytes(node.process.pid), kernel_megabytes() - held
    own = min(late)
    found = sorted((value - own) * 1000 for value in late)
    print(
        f"stalled {count:>5}: run {took:6.2f} s; pieces late p50 {found[len(found) // 2]:7.1f} ms, p99 "
        f"{found[int(len(found) * 0.99)]:7.1f} ms;"
        f" node {before:5.0f} → {after:5.0f} MB; sockets {kernel:5.0f} MB",
        flush=True,
    )


async def replayed(node: Node, dsn: str, count: int) -> None:
    database = await asyncpg.connect(dsn)
    org_id = await database.fetchval("SELECT id FROM orgs")
    await database.close()
    run_id = uuid4()
    await fill(dsn, org_id, run_id, count)
    before = peak = megabytes(node.process.pid)
    begun, first, events, size = time.monotonic(), 0.0, 0, 0
    client = httpx.AsyncClient(base_url=node.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
    async with client, client.stream("GET", f"/v1/runs/{run_id}/stream") as told:
        async for chunk in told.aiter_bytes():
            first = first or time.monotonic() - begun
            events, size, peak = (
                events + chunk.count(b"\n\n"),
                size + len(chunk),
                max(peak, megabytes(node.process.pid)),
            )
    took = time.monotonic() - begun
    print(
        f"replayed {events:,} events, {size / 1e6:.0f} MB: first byte {first * 1000:.1f} ms, whole {took:.2f} s, "
        f"{events / took:,.0f} events/s;"
        f" node {before:.0f} → {peak:.0f} MB at its peak",
        flush=True,
    )


async def limited(node: Node, requests: int) -> None:
    async with httpx.AsyncClient(base_url=node.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        keys: dict[str, str] = {}
        for name, limits in (("without", {}), ("with", {"rate_limit": 1_000_000})):
            made = await client.post("/v1/access-keys", json={"name": name, **limits})
            keys[name] = made.json()["data"]["key"]
        times: dict[str, list[float]] = {name: [] for name in keys}
        for _ in range(requests):
            for name, key in keys.items():  # In turns, so that other load affects both.
                begun = time.perf_counter()
                answered = await client.get("/v1/orgs", headers={"Authorization": f"Bearer {key}"})
                times[name].append((time.perf_counter() - begun) * 1000)
                assert answered.status_code == 200
    medians = {name: statistics.median(values) for name, values in times.items()}
    added = medians["with"] - medians["without"]
    print(
        f"limited: a request {medians['without']:.2f} ms, of a key with a rate limit {medians['with']:.2f} ms: "
        f"+{added:.2f} ms",
        flush=True,
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of everything")
    parser.add_argument("--stalled", default="0,0,100,1000", help="how many connections, one run each")
    options = parser.parse_args()
    part = 5 if options.quick else 1
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home, contextlib.ExitStack():
        Path(home).chmod(0o755)
        embedded = await start_embedded(Path(home) / "database")
        try:
            async with ScriptedServer() as model:
                node = await Node("node", embedded.dsn, Path(home) / "data", model.url, Path(home) / "node.log").start()
                try:
                    for count in map(int, options.stalled.split(",")):
                        await stalled(node, count // part)
                    await replayed(node, embedded.dsn, EVENTS // part)
                    await limited(node, 2_000 // part)
                finally:
                    await node.kill()
        finally:
            await embedded.stop()


if __name__ == "__main__":
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, 8_192))
    asyncio.run(main())
