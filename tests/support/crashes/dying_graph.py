"""A server that dies like `kill -9` at the n-th statement of a graph's run, or around a call of one of its nodes: in a
process of its own. Whoever takes the run over must run no finished node again, and repeat no effect.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.gateway import Capabilities
from stoa.runs import Worker
from tests.support.apps import deployed
from tests.support.crashes.dying import DIED, Countdown, EffectTool, count_statements, nothing
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, ScriptedToolbox, answer
from tests.support.forking import context
from tests.support.graphs import flow, node
from tests.support.running import Running, serving

NODES = ("left", "right", "both", "after")
TICKS_MAX = 120
AT_ONCE = 3


def graph() -> dict[str, Any]:
    """Two nodes at once, one that joins them, a model, and one more node."""
    return flow(
        node("http", "left", "start"),
        node("http", "right", "start"),
        node("http", "both", "left", "right"),
        node("llm", "model", "both"),
        node("http", "after", "model"),
        node("output", "end", "after", "model", pick={"said": "$.model.output.content"}),
    )


def parts(effects: Path, countdown: Countdown, *, idempotent: bool) -> tuple[ScriptedModel, ScriptedToolbox]:
    model = ScriptedModel([answer("All", " done.")], Capabilities(images=False, tools=True))
    return model, ScriptedToolbox(*(EffectTool(name, effects, countdown, idempotent=idempotent) for name in NODES))  # type: ignore[arg-type]


def die(dsn: str, directory: str, app_id: str, ticks: int, idempotent: bool) -> None:
    """Starts one run, then dies; exits with 0 if there were fewer ticks."""
    asyncio.run(_die(dsn, Path(directory), app_id, ticks, idempotent=idempotent))


async def _die(dsn: str, directory: Path, app_id: str, ticks: int, *, idempotent: bool) -> None:
    countdown = Countdown(ticks)
    model, shelf = parts(directory / "effects", countdown, idempotent=idempotent)
    count_statements(countdown)
    Worker._claim = nothing  # type: ignore[method-assign] — it would take the runs of those that died before it
    async with serving(dsn, directory / f"graph-{ticks}", model, toolbox=shelf) as server:
        countdown.running = True
        body = {"input": {"input": f"graph {ticks}", "n": ticks}, "background": True}
        run = await server.call("POST", f"/apps/{app_id}/v1/runs", 202, json=body)
        await server.status(run["data"]["id"], "completed")
        countdown.running = False


@dataclass(frozen=True)
class Left:
    """A run that a dead server left, and the tick at which it died."""

    tick: int
    run_id: str


async def survivors(dsn: str, room: Path, app_id: str, ticks: Iterable[int], *, idempotent: bool) -> list[Left]:
    """For each of these ticks, the run of a server that died at it."""
    left: list[Left] = []
    waiting = list(ticks)
    while waiting:
        now, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        processes = [context().Process(target=die, args=(dsn, str(room), app_id, tick, idempotent)) for tick in now]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, 90)
        codes = [process.exitcode for process in processes]
        assert set(codes) <= {0, DIED}, codes
        left += [await _left(dsn, tick) for tick, code in zip(now, codes, strict=True) if code == DIED]
        if 0 in codes:
            return left
    return left


async def _left(dsn: str, tick: int) -> Left:
    database = await asyncpg.connect(dsn)
    try:
        run_id = await database.fetchval(
            "SELECT id FROM runs WHERE input -> 'content' -> 0 ->> 'text' = $1", f"graph {tick}"
        )
        return Left(tick, str(run_id))
    finally:
        await database.close()


async def deaths(dsn: str, room: Path, home: Path, ticks: Iterable[int], *, idempotent: bool) -> int:
    """Kills a server at each of these ticks, lets another one continue, and checks the invariants. Returns how many
    died."""
    room.mkdir()
    model, shelf = parts(room / "effects", Countdown(0), idempotent=idempotent)
    async with serving(dsn, home, model, toolbox=shelf) as server:
        app = await deployed(server, graph())
        left = await survivors(dsn, room, app["id"], ticks, idempotent=idempotent)
        for one in left:
            await _check(server, one, room / "effects", idempotent=idempotent)
    return len(left)


async def _check(server: Running, left: Left, effects: Path, *, idempotent: bool) -> None:
    run = await server.status(left.run_id, "completed", "failed", "paused")
    asked = 0
    while run["status"] == "paused":
        asked += 1
        for request in run["input_requests"]:
            assert "may already have been made" in request["prompt"]
            body = {"type": "approval", "data": {"request_id": request["id"], "approved": False}}
            await server.call("POST", f"/v1/runs/{left.run_id}/input", json=body)
        run = await server.status(left.run_id, "completed", "failed", "paused")
    lines = [line.split() for line in effects.read_text().splitlines() if line.split()[0] == str(left.tick)]
    made = {name: [key for _, tool, key in lines if tool == name] for name in NODES}
    events = await server.events(left.run_id)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1)), left
    ends = [event["data"]["id"] for event in events if event["type"] == "workflow.node.completed"]
    assert len(ends) == len(set(ends)), (left, "a node that had completed ran again")
    kinds = [event["type"] for event in events]
    death = kinds.index("run.recovered") if "run.recovered" in kinds else 0
    stored = {one["data"]["id"] for one in events[:death] if one["type"] == "workflow.node.completed"}
    for name in NODES:
        assert len(set(made[name])) <= 1, (left, name, "a repeated call has the same key")
        if name in stored or not idempotent:
            assert len(made[name]) <= 1, (left, name, "an effect was repeated")
    if idempotent:
        assert not asked
        assert (run["status"], run["result"]) == ("completed", {"said": "All done."}), (left, run.get("error"))
        assert all(made.values()), left
    else:
        assert run["status"] == ("failed" if asked else "completed"), (left, run.get("error"))
        assert not asked or run["error"]["code"] == "tool_outcome_unknown"


async def every_death(home: Path) -> dict[str, int]:
    """At every possible tick, with idempotent and with other tools. Returns how many died."""
    home.mkdir(parents=True, exist_ok=True)
    embedded = await start_embedded(home / "database")
    databases = Databases(embedded.dsn)
    died: dict[str, int] = {}
    try:
        for idempotent in (True, False):
            name = "repeatable" if idempotent else "once"
            await databases.execute(f"CREATE DATABASE graph_{name}")
            dsn = databases(f"graph_{name}")
            await migrate(dsn)
            rooms = (home / name, home / f"{name}-server")
            died[name] = await deaths(dsn, *rooms, range(1, TICKS_MAX), idempotent=idempotent)
    finally:
        await databases.close()
        await embedded.stop()
    return died
