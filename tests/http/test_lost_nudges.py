"""What a node carries and what the database says: a commit's answer may be lost, and a nudge. Neither may leave a run
waiting for ever."""

import asyncio

import asyncpg
import pytest

from stoa.runs import Recorder
from tests.conftest import Running
from tests.support import run_states
from tests.support.doubles import answer


async def begun_alone(running: Running, *more: str) -> None:
    """As if only the beginning of its run had been committed, and this node had never heard of it."""
    database = await asyncpg.connect(running.dsn)
    try:
        for statement in (
            run_states.OFF,
            *more,
            "DELETE FROM events WHERE sequence > 1",
            "UPDATE journals SET sealed = false, last_sequence = 1",
            "DELETE FROM messages WHERE role = 'assistant'",
            "UPDATE conversations SET message_count = 1",
            (
                "UPDATE runs SET status = 'started', ended_at = NULL, output = NULL, usage = NULL, attempt = 1, "
                "node_id "
                "= (SELECT id FROM nodes)"
            ),
        ):
            await database.execute(statement)
    finally:
        await database.close()


async def test_a_run_that_no_node_owns_is_claimed(running: Running) -> None:
    running.model.scripts = [answer("First"), answer("Again")]
    conversation = await running.conversation()
    run = await running.ask(conversation)
    await begun_alone(running, "DELETE FROM model_calls")
    ended = await running.status(run["id"], "completed")
    assert (ended["output"], ended["attempt"]) == ("Again", 2)
    assert [event["type"] for event in await running.events(run["id"])][:2] == ["run.started", "run.recovered"]
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_a_run_cancelled_before_its_losses_are_counted_has_them_on_its_bill(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = asyncio.Event()

    async def for_ever(*_: object) -> None:
        counting.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Recorder, "recover", for_ever)
    monkeypatch.setattr("stoa.runs.driving.RECORD_SECONDS_MAX", 0.05)
    running.model.scripts = [answer("First")]
    run = await running.ask(await running.conversation())
    await begun_alone(running)  # What is on the bill is of an attempt that was lost earlier.
    await counting.wait()
    await running.call("POST", f"/v1/runs/{run['id']}/cancel")
    canceled = await running.status(run["id"], "canceled")
    assert canceled["usage"]["total_tokens"] > run["usage"]["total_tokens"]
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_a_cancel_whose_nudge_is_lost(running: Running) -> None:
    running.model.scripts = [[asyncio.Event()]]
    conversation = await running.conversation()
    run = (
        await running.call(
            "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Hi", "background": True}
        )
    )["data"]
    await running.status(run["id"], "started")
    database = await asyncpg.connect(running.dsn)
    await database.execute("UPDATE runs SET cancel_reason = 'user'")
    await database.close()
    await running.status(run["id"], "canceled")
    assert running.model.open == 0
