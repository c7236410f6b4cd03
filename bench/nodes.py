#!/usr/bin/env python3
"""Several nodes: what it costs to follow a stream elsewhere, how soon a run goes on after its node is gone, how soon a
cancel is true.

    python bench/nodes.py [--quick]

Starts an embedded PostgreSQL, a scripted model and two nodes (`stoa serve`, each a process), all on this machine, and
prints:

- followed elsewhere: each event's arrival at a reader on another node, after its arrival at a reader on the node that
carries the run
- taken over: from `kill -9` (and from SIGSTOP) of a node to the next event of each of its runs, as a reader on the
other node sees it
- cancelled: from the request, on the node that does not carry the run, to its acknowledgement; and from the
acknowledgement to the moment
  the model's server saw its connection close (negative: before)
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from stoa.db.embedded import start_embedded
from tests.support.nodes import Node, script
from tests.support.scripted_model import ScriptedServer

RUNS = 20
"""How many runs a node executes when it is killed."""


def line(name: str, seconds: list[float]) -> None:
    found = sorted(value * 1000 for value in seconds)
    cells = "".join(f"{found[min(len(found) - 1, int(len(found) * at))]:>10.1f}" for at in (0.5, 0.9, 0.99))
    print(f"{name:<42}{len(found):>7}{cells}{found[-1]:>10.1f}", flush=True)


async def background(node: Node, **fields: object) -> str:
    return await node.send(await node.conversation(), script(**fields))


async def arrivals(node: Node, run_id: str, first: asyncio.Event | None = None) -> dict[int, float]:
    """When each event arrived; a stream that breaks ends the list."""
    seen: dict[int, float] = {}
    try:
        async for event, _ in node.follow(run_id):
            seen[event["sequence"]] = time.monotonic()
            if first is not None and len(seen) > 2:
                first.set()
    except OSError:
        pass
    return seen


async def followed_elsewhere(one: Node, other: Node, streams: int) -> None:
    async def follow(index: int) -> list[float]:
        await asyncio.sleep(index * 0.02)
        run_id = await background(one, pieces=["token "] * 200, delay=0.02)
        here, there = await asyncio.gather(arrivals(one, run_id), arrivals(other, run_id))
        # Events from before both readers were connected are ignored.
        return [there[sequence] - here[sequence] for sequence in sorted(here.keys() & there.keys())[20:]]

    found = await asyncio.gather(*(follow(index) for index in range(streams)))
    line(f"followed elsewhere, {streams} streams of 50/s", [value for values in found for value in values])


async def taken_over(one: Node, other: Node, rounds: int, *, frozen: bool) -> None:
    back: list[float] = []
    for _ in range(rounds):
        gone: list[float] = []
        ready = [asyncio.Event() for _ in range(RUNS)]

        async def follow(run_id: str, begun: asyncio.Event, gone: list[float] = gone) -> float:
            seen = 0
            async for event, _ in other.follow(run_id):
                seen += 1
                if seen > 2:
                    begun.set()
                if event["type"] == "run.recovered":
                    return time.monotonic() - gone[0]
            raise AssertionError("it was not taken over")

        run_ids = [await background(one, pieces=["token "] * 3_000, delay=0.05) for _ in range(RUNS)]
        followers = [asyncio.create_task(follow(run_id, begun)) for run_id, begun in zip(run_ids, ready, strict=True)]
        await asyncio.gather(*(begun.wait() for begun in ready))
        gone.append(time.monotonic())
        if frozen:
            one.freeze()
        else:
            await one.kill()
        back += await asyncio.gather(*followers)
        await asyncio.gather(*(other.call("POST", f"/v1/runs/{run_id}/cancel") for run_id in run_ids))
        if frozen:
            one.thaw()
        else:
            await one.start()
    line(f"taken over after {'SIGSTOP' if frozen else 'kill -9'}, {rounds} times {RUNS} runs", back)


async def cancelled(one: Node, other: Node, model: ScriptedServer, count: int) -> None:
    acknowledged: list[float] = []
    closed: list[float] = []
    for _ in range(count):
        name = uuid4().hex
        run_id = await background(one, pieces=["token "] * 3_000, delay=0.02, id=name)
        while model.log.get(name, {}).get("said", 0) < 3:
            await asyncio.sleep(0.005)
        asked = time.monotonic()
        await other.call("POST", f"/v1/runs/{run_id}/cancel")
        answered = time.monotonic()
        while model.log[name]["state"] != "aborted":
            await asyncio.sleep(0.005)
        acknowledged.append(answered - asked)
        closed.append(model.log[name]["since"] - answered)
    line("cancelled on another node: acknowledged", acknowledged)
    line("  and then: the model's connection closed", closed)


async def main(*, quick: bool) -> None:
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; milliseconds; two "
        f"nodes, model, database and readers on it"
    )
    print(f"{'':<42}{'n':>7}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="stoa-bench-", dir=memory if memory.is_dir() else None) as room:
        home = Path(room)
        home.chmod(0o755)
        embedded = await start_embedded(home / "data")
        async with ScriptedServer() as model:
            settings = {"STOA_LOG_LEVEL": "warning"}
            one, other = (
                Node(name, embedded.dsn, home / "data", model.url, home / f"{name}.log", settings)
                for name in ("one", "other")
            )
            try:
                await one.start()
                await other.start()
                work: list[Awaitable[None]] = [
                    followed_elsewhere(one, other, 1),
                    followed_elsewhere(one, other, 20),
                    cancelled(one, other, model, 20 if quick else 100),
                    taken_over(one, other, 2 if quick else 10, frozen=False),
                    taken_over(one, other, 1 if quick else 5, frozen=True),
                ]
                for one_work in work:
                    await one_work
            finally:
                await one.end()
                await other.end()
        await embedded.stop()


if __name__ == "__main__":  # Nodes are forked from a server that imports the main module again.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the samples")
    asyncio.run(main(quick=parser.parse_args().quick))
