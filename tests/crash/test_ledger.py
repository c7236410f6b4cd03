"""No side effect is ever silently repeated: the server dies between any two statements around a tool call, another
takes over."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Running, serving
from tests.support.crashes.dying import DIED, die, parts
from tests.support.forking import context

TICKS_MAX = 80
AT_ONCE = 3


async def survivors(server: Running, dsn: str, room: Path, tool: str) -> list[tuple[int, str]]:
    """For every tick at which a server can die: that tick and the run it left behind."""
    left: list[tuple[int, str]] = []
    for start in range(1, TICKS_MAX, AT_ONCE):
        ticks = range(start, start + AT_ONCE)
        processes = [context().Process(target=die, args=(dsn, str(room), tool, tick)) for tick in ticks]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, 60)
        codes = [process.exitcode for process in processes]
        assert set(codes) <= {0, DIED}, codes
        left += [(tick, await begun(dsn, tool, tick)) for tick, code in zip(ticks, codes, strict=True) if code == DIED]
        if 0 in codes:
            return left
    raise AssertionError(f"the run did not end within {TICKS_MAX} ticks")


async def begun(dsn: str, tool: str, tick: int) -> str:
    """The run of whoever died at this tick; it may have died before it heard of it."""
    database = await asyncpg.connect(dsn)
    try:
        return str(
            await database.fetchval(
                "SELECT id FROM runs WHERE input -> 'content' -> 0 ->> 'text' = $1", f"{tool} {tick}"
            )
        )
    finally:
        await database.close()


async def ended(server: Running, run_id: str) -> tuple[Any, bool]:
    """The run at its end, and whether a person was asked on the way; they say no."""
    run = await server.status(run_id, "completed", "failed", "paused")
    if run["status"] != "paused":
        return run, False
    (request,) = run["input_requests"]
    assert "may already have been made" in request["prompt"]
    body = {"type": "approval", "data": {"request_id": request["id"], "approved": False}}
    await server.call("POST", f"/v1/runs/{run_id}/input", json=body)
    return await server.status(run_id, "completed", "failed"), True


@pytest.mark.parametrize("tool", ["once", "repeatable"])
@pytest.mark.timeout(240)
async def test_death_between_any_two_statements(dsn: str, room: Path, tmp_path: Path, tool: str) -> None:
    directory = room / f"dying-{tool}"
    directory.mkdir()
    model, shelf = parts(directory / "effects")
    async with serving(dsn, tmp_path, model, toolbox=shelf) as server:
        left = await survivors(server, dsn, directory, tool)
        assert len(left) >= 8
        asked_of = 0
        for tick, run_id in left:
            run, asked = await ended(server, run_id)
            asked_of += asked
            assert (run["status"], run["output"]) == ("completed", "All done."), (tick, run.get("error"))
            effects = [
                line.split()
                for line in (directory / "effects").read_text().splitlines()
                if line.split()[0] == str(tick)
            ]
            (line,) = (await server.call("GET", f"/v1/runs/{run_id}/tool-calls"))["data"]
            events = await server.events(run_id)
            assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
            assert (
                sum(event["type"].startswith(("run.completed", "run.failed", "run.canceled")) for event in events) == 1
            )
            if tool == "once":
                assert len(effects) <= 1, "a side effect was repeated"
                assert (line["status"] == "unknown") == asked
                assert asked or len(effects) == 1
            else:
                assert not asked
                assert len({key for _, _, key in effects}) == 1, "a repeated call has the same key"
                assert 1 <= len(effects) <= 2
                assert line["status"] == "completed"
        assert (asked_of > 0) == (tool == "once")
