"""Busy conversations: refused, queued, interrupted; however many write at once, the history stays a history."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from stoa.gateway import Capabilities, Finish, TextDelta, Usage
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, calling


async def background(server: Running, conversation_id: str, text: str, **fields: Any) -> httpx.Response:
    body = {"content": text, "background": True, **fields}
    return await server.client.post(f"/v3/conversations/{conversation_id}/messages", json=body)


async def history(server: Running, conversation_id: str) -> list[tuple[str, str, str]]:
    messages = (await server.call("GET", f"/v1/conversations/{conversation_id}/messages?page_size=500"))["data"]
    return [(one["role"], one["content"][0]["text"], one["run_id"]) for one in messages]


def held(server: Running) -> asyncio.Event:
    """The next answer waits for this; those after it come at once."""
    gate = asyncio.Event()
    server.model.scripts = [[[TextDelta("First")], gate, [Usage(1, 1), Finish("stop")]], answer("Next")]
    return gate


async def test_messages_wait_for_their_turn(running: Running) -> None:
    gate = held(running)
    conversation = await running.conversation()
    first = (await background(running, conversation, "one")).json()["data"]["id"]
    queued = [
        (await background(running, conversation, text, on_busy="queue", metadata={"n": text})).json()["data"]
        for text in ("two", "three", "four")
    ]
    assert [run["status"] for run in queued] == ["created"] * 3
    waiting = (await running.call("GET", f"/v1/conversations/{conversation}/queue"))["data"]
    assert [(one["run_id"], one["position"]) for one in waiting] == [
        (run["id"], number) for number, run in enumerate(queued, 1)
    ]
    assert [(one["content"][0]["text"], one["metadata"]["n"]) for one in waiting] == [
        ("two", "two"),
        ("three", "three"),
        ("four", "four"),
    ]
    assert [text for _, text, _ in await history(running, conversation)] == ["one"]
    refused = (await background(running, conversation, "no")).json()
    assert refused["error"]["details"] == {"active_run_id": first}
    removed = queued[1]["id"]
    await running.call("DELETE", f"/v1/conversations/{conversation}/queue/{removed}")
    assert [event["type"] for event in await running.events(removed)] == ["run.started", "run.canceled"]
    gate.set()
    for run in (queued[0], queued[2]):
        await running.status(run["id"], "completed")
    assert await history(running, conversation) == [
        ("user", "one", first),
        ("assistant", "First", first),
        ("user", "two", queued[0]["id"]),
        ("assistant", "Next", queued[0]["id"]),
        ("user", "four", queued[2]["id"]),
        ("assistant", "Next", queued[2]["id"]),
    ]
    await running.call("DELETE", f"/v1/conversations/{conversation}/queue/{queued[0]['id']}", 409)
    assert (await running.call("GET", f"/v1/conversations/{conversation}/queue"))["data"] == []


async def test_a_queued_stream_begins_with_its_turn(running: Running) -> None:
    gate = held(running)
    conversation = await running.conversation()
    await background(running, conversation, "one")
    body = {"content": "two", "on_busy": "queue"}
    async with running.client.stream("POST", f"/v3/conversations/{conversation}/messages", json=body) as response:
        gate.set()
        seen = [line async for line in response.aiter_lines() if line.startswith("event:")]
    assert (seen[0], seen[-1]) == ("event: run.started", "event: run.completed")


async def test_interrupting(running: Running) -> None:
    held(running)
    conversation = await running.conversation()
    first = (await background(running, conversation, "one")).json()["data"]["id"]
    await running.status(first, "started")
    second = await running.ask(conversation, "two", on_busy="interrupt")
    assert (second["status"], second["output"]) == ("completed", "Next")
    ended = (await running.events(first))[-1]
    assert (ended["type"], ended["data"]["reason"]) == ("run.canceled", "interrupted")


async def test_an_interrupting_message_goes_before_those_that_wait(running: Running) -> None:
    held(running)
    conversation = await running.conversation()
    first = (await background(running, conversation, "one")).json()["data"]["id"]
    await running.status(first, "started")
    waiting = (await background(running, conversation, "two", on_busy="queue")).json()["data"]["id"]
    urgent = (await background(running, conversation, "now", on_busy="interrupt")).json()["data"]["id"]
    for run in (urgent, waiting):
        await running.status(run, "completed")
    assert [(role, text) for role, text, _ in await history(running, conversation)] == [
        ("user", "one"),
        ("assistant", "First"),
        ("user", "now"),
        ("assistant", "Next"),
        ("user", "two"),
        ("assistant", "Next"),
    ]


async def test_an_interruption_outlives_who_made_it(dsn: str, tmp_path: Path) -> None:
    """The intent is stored with the message: where its sender's server dies before it can end a paused run, the next
    look does."""
    model = ScriptedModel(
        [calling(("ask_human", '{"question": "When?"}'))], Capabilities(images=True, tools=True, context_tokens=8_000)
    )
    async with serving(dsn, tmp_path, model) as server:
        conversation = await server.conversation(agent={"human_feedback": True})
        first = await server.ask(conversation)
        assert first["status"] == "paused"
        database = await asyncpg.connect(dsn)
        try:
            await database.execute("UPDATE runs SET cancel_reason = 'interrupted' WHERE id = $1", UUID(first["id"]))
        finally:
            await database.close()
        await server.status(first["id"], "canceled")
        assert (await server.events(first["id"]))[-1]["data"]["reason"] == "interrupted"


async def test_deleting_takes_the_queue_along(running: Running) -> None:
    held(running)
    conversation = await running.conversation()
    for text in ("one", "two", "three"):
        assert (await background(running, conversation, text, on_busy="queue")).status_code == 202
    deleted = await running.call("DELETE", f"/v1/conversations/{conversation}")
    receipt = (await running.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
    assert (receipt["stores"]["runs"]["rows"], bool(receipt["verified_at"])) == (3, True)


async def test_a_hundred_at_once_do_not_corrupt_a_history(running: Running) -> None:
    """Queued and interrupting ones mixed: positions without gaps, and every answer follows its own question."""
    running.model.scripts = [answer("Yes")]
    conversation = await running.conversation()
    sent = await asyncio.gather(
        *(background(running, conversation, f"m{n}", on_busy="queue" if n % 4 else "interrupt") for n in range(100))
    )
    assert {response.status_code for response in sent} <= {202, 409}
    runs = [response.json()["data"]["id"] for response in sent if response.status_code == 202]
    assert len(runs) >= 75
    for run in runs:
        await running.status(run, "completed", "canceled")
    said = await history(running, conversation)
    assert [role for role, _, _ in said] == ["user", "assistant"] * (len(said) // 2)
    assert all(said[n][2] == said[n + 1][2] for n in range(0, len(said), 2))
    assert len({run for _, _, run in said}) == len(said) // 2
    database = await asyncpg.connect(running.dsn)
    try:
        positions = [row["position"] for row in await database.fetch("SELECT position FROM messages ORDER BY position")]
        assert positions == list(range(1, len(said) + 1))
        assert (
            await database.fetchval(
                "SELECT count(*) FROM runs WHERE queued_at IS NOT NULL OR status NOT IN ('completed', 'canceled')"
            )
            == 0
        )
        assert await database.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    finally:
        await database.close()
