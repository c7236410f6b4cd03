"""What a node carries and what the database says: a commit's answer may be lost, and a nudge. Neither may leave a run waiting for ever."""

import asyncio

import asyncpg

from tests.conftest import Running
from tests.doubles import answer


async def test_a_run_in_nobodys_hands_is_taken_up(running: Running) -> None:
    running.model.scripts = [answer("First"), answer("Again")]
    conversation = await running.conversation()
    run = await running.ask(conversation)
    database = await asyncpg.connect(running.dsn)
    try:
        # As if only the beginning had been committed, and this node had never heard of it.
        await database.execute("DELETE FROM events WHERE sequence > 1")
        await database.execute("UPDATE journals SET sealed = false, last_sequence = 1")
        await database.execute("DELETE FROM messages WHERE role = 'assistant'")
        await database.execute("UPDATE conversations SET message_count = 1")
        await database.execute("DELETE FROM model_calls")
        await database.execute(
            "UPDATE runs SET status = 'started', ended_at = NULL, output = NULL, usage = NULL, attempt = 1, node_id = (SELECT id FROM nodes)"
        )
    finally:
        await database.close()
    ended = await running.status(run["id"], "completed")
    assert (ended["output"], ended["attempt"]) == ("Again", 2)
    assert [event["type"] for event in await running.events(run["id"])][:2] == ["run.started", "run.recovered"]
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_a_cancel_whose_nudge_is_lost(running: Running) -> None:
    running.model.scripts = [[asyncio.Event()]]
    conversation = await running.conversation()
    run = (await running.call("POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Hi", "background": True}))["data"]
    await running.status(run["id"], "started")
    database = await asyncpg.connect(running.dsn)
    await database.execute("UPDATE runs SET cancel_reason = 'user'")
    await database.close()
    await running.status(run["id"], "canceled")
    assert running.model.open == 0
