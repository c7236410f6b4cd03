"""A server that dies like `kill -9` at the n-th statement of a run whose agent edits a note and remembers: in a process
of its own. Whoever takes the run over must edit nothing twice, and remember everything once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import orjson

from stoa.gateway import Capabilities, Delta, ModelRequest, ToolResultPart
from stoa.runs import Worker
from tests.support.apps import deployed
from tests.support.crashes.dying import DIED, Countdown, count_statements, nothing
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.forking import context
from tests.support.graphs import flow, node
from tests.support.running import Running, serving

AT_ONCE = 3
EDIT = {"action": "edit", "path": "n", "find": "x", "replace": "xx", "replace_all": True}


class Editing(ScriptedModel):
    """Edits the note, and answers when that is done, whatever another server did before."""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        done = any(isinstance(part, ToolResultPart) for one in request.messages for part in one.parts)
        yield self._say(answer("All", " done.") if done else calling(("memory_store", orjson.dumps(EDIT).decode())))


def model() -> Editing:
    return Editing(given_abilities=Capabilities(images=False, tools=True))


def die(dsn: str, directory: str, app_id: str, ticks: int) -> None:
    """Starts one run, then dies; exits with 0 if there were fewer ticks."""
    asyncio.run(_die(dsn, Path(directory), app_id, ticks))


async def _die(dsn: str, directory: Path, app_id: str, ticks: int) -> None:
    countdown = Countdown(ticks)
    count_statements(countdown)
    Worker._claim = nothing  # type: ignore[method-assign] — it would take the runs of those that died before it
    async with serving(dsn, directory / f"memory-{ticks}", model()) as server:
        countdown.running = True
        body = {"input": {"input": f"Hi {ticks}"}, "user_id": f"u{ticks}", "background": True}
        run = await server.call("POST", f"/apps/{app_id}/v1/runs", 202, json=body)
        await server.status(run["data"]["id"], "completed")
        countdown.running = False


async def deaths(dsn: str, room: Path, home: Path, ticks: Iterable[int]) -> int:
    """Kills a server at each of these ticks, lets another one continue, and checks the invariants. Returns how many
    died."""
    room.mkdir()
    wanted = list(ticks)
    async with serving(dsn, home, model()) as server:
        memory_id = (await server.call("POST", "/v1/memories", 201, json={"name": "m"}))["data"]["id"]
        store_id = (await server.call("POST", "/v1/memory-stores", 201, json={"name": "s"}))["data"]["id"]
        for tick in wanted:
            note = {"user_id": f"u{tick}", "path": "n", "content": "x"}
            await server.call("PUT", f"/v1/memory-stores/{store_id}/files", json=note)
        agent = node(
            "agent",
            "a",
            "start",
            memory={"backend": {"memory_id": memory_id}},
            memory_store={"enabled": True, "backend": {"memory_store_id": store_id}},
        )
        app = await deployed(server, flow(agent))
        died = await _all_die(dsn, room, app["id"], wanted)
        for tick in died:
            await _check(server, dsn, tick, memory_id, store_id)
    return len(died)


async def _all_die(dsn: str, room: Path, app_id: str, ticks: list[int]) -> list[int]:
    died: list[int] = []
    for first in range(0, len(ticks), AT_ONCE):
        now = ticks[first : first + AT_ONCE]
        processes = [context().Process(target=die, args=(dsn, str(room), app_id, tick)) for tick in now]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, 90)
        codes = [process.exitcode for process in processes]
        assert set(codes) <= {0, DIED}, codes
        died += [tick for tick, code in zip(now, codes, strict=True) if code == DIED]
    return died


async def _check(server: Running, dsn: str, tick: int, memory_id: str, store_id: str) -> None:
    database = await asyncpg.connect(dsn)
    try:
        run_id = await database.fetchval("SELECT id FROM runs WHERE user_id = $1", f"u{tick}")
    finally:
        await database.close()
    run = await server.status(str(run_id), "completed", "failed", "paused")
    assert run["status"] == "completed", (tick, run.get("error"))
    who = {"user_id": f"u{tick}"}
    found = await server.call("GET", f"/v1/memories/{memory_id}/items", params={**who, "sort": "created_at"})
    said = [(one["data"]["role"], one["data"]["content"][0]["text"]) for one in found["data"]]
    assert said == [("user", f"Hi {tick}"), ("assistant", "All done.")], tick
    note = await server.call("GET", f"/v1/memory-stores/{store_id}/files/content", params={**who, "path": "n"})
    assert note["data"]["content"] == "xx", (tick, "the edit was made twice, or never")
