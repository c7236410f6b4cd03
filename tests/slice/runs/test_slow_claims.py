"""A node that reads the journals of what it has claimed, slowly as after a failover, keeps these runs."""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from stoa.journal import Head, Journal, JournalKey, Record, RunWriter
from stoa.runs.worker import Worker
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling


async def paused(server: Running) -> str:
    run = await server.ask(await server.conversation(agent={"tools": ["pay"]}))
    assert run["status"] == "paused"
    return str(run["id"])


async def approve(server: Running, run_id: str) -> None:
    asked = (await server.call("GET", f"/v1/runs/{run_id}"))["data"]["input_requests"][0]["id"]
    body = {"type": "approval", "data": {"request_id": asked, "approved": True}}
    await server.call("POST", f"/v1/runs/{run_id}/input", json=body)


async def test_what_is_being_claimed_is_not_released(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, reading, go_on = asyncio.Condition(), asyncio.Event(), asyncio.Event()
    comparisons = [0]
    compare, resume = Worker._compare, Journal.resume  # pyright: ignore[reportPrivateUsage]

    async def counted(worker: Worker) -> None:
        await compare(worker)
        async with compared:
            comparisons[0] += 1
            compared.notify_all()

    async def slow(journal: Journal, key: JournalKey, head: Head) -> tuple[RunWriter, Record | None]:
        reading.set()
        await go_on.wait()
        return await resume(journal, key, head)

    monkeypatch.setattr(Worker, "_compare", counted)
    monkeypatch.setattr(Journal, "resume", slow)
    monkeypatch.setattr("stoa.runs.worker.EXPIRY_SECONDS", 0.05)
    tools = ScriptedToolbox(ScriptedTool("pay", approval=True))
    async with (
        asyncio.timeout(30),
        serving(dsn, tmp_path, ScriptedModel([calling(("pay", "{}")), answer("Paid.")]), toolbox=tools) as server,
    ):
        run_id = await paused(server)
        await approve(server, run_id)
        await reading.wait()
        async with compared:
            since = comparisons[0]
            await compared.wait_for(lambda: comparisons[0] >= since + 3)
        database = await asyncpg.connect(dsn)
        try:
            owner = await database.fetchval("SELECT node_id FROM runs WHERE id = $1", UUID(run_id))
        finally:
            await database.close()
        assert owner is not None, "another node could have claimed it: its attempts would be used up"
        go_on.set()
        await server.status(run_id, "completed")
