"""How a run ends in the database."""

import asyncio

import asyncpg

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import Running
from tests.support.doubles import until


async def test_last_words_and_end_are_one_transaction(running: Running) -> None:
    running.model.scripts = [[[TextDelta("Hello"), TextDelta(" there."), Usage(3, 2), Finish("stop")]]]
    run = await running.ask(await running.conversation())
    assert run["output"] == "Hello there."
    connection = await asyncpg.connect(running.dsn)
    try:
        rows = await connection.fetch(
            "SELECT xmin::text, kind FROM events WHERE run_id = $1 ORDER BY sequence", run["id"]
        )
        runs_xmin = await connection.fetchval("SELECT xmin::text FROM runs WHERE id = $1", run["id"])
    finally:
        await connection.close()
    transactions = [row["xmin"] for row in rows]
    assert len(rows) == 3
    assert transactions[0] != transactions[1] == transactions[2] == runs_xmin


async def test_an_end_that_is_fenced_off_writes_nothing(running: Running) -> None:
    """Somebody has taken the journal meanwhile. The run's node gives it up, takes it like anybody, and ends it once."""
    gate = asyncio.Event()
    words = [TextDelta("Hello."), Usage(3, 1), Finish("stop")]
    running.model.scripts = [[gate, words], [words]]
    conversation = await running.conversation()
    path = f"/v3/conversations/{conversation}/messages"
    run = (await running.call("POST", path, 202, json={"content": "Hi", "background": True}))["data"]["id"]
    await until(lambda: running.model.requests)
    connection = await asyncpg.connect(running.dsn)
    try:
        await connection.execute("UPDATE journals SET epoch = epoch + 1 WHERE run_id = $1", run)
        gate.set()
        ended = await running.status(run, "completed")
        assert (ended["attempt"], ended["output"]) == (2, "Hello.")
        kinds = [event["type"] for event in await running.events(run)]
        assert (kinds.count("run.completed"), kinds.count("run.recovered"), kinds[-1]) == (1, 1, "run.completed")
        assert await connection.fetchval("SELECT message_count FROM conversations WHERE id = $1", conversation) == 2
        assert (
            await connection.fetchval("SELECT count(*) FROM model_calls WHERE run_id = $1 AND NOT estimated", run) == 1
        )
    finally:
        await connection.close()
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]
