"""Forks and regenerated answers: what is shared is read like one's own, and outlives its first owner; nothing else
does."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from stoa.gateway import Capabilities, ModelError
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling


async def said(server: Running, conversation_id: str) -> list[str]:
    listed = await server.call("GET", f"/v1/conversations/{conversation_id}/messages?page_size=500")
    assert all(message["conversation_id"] == conversation_id for message in listed["data"])
    assert listed["pagination"]["total_count"] == len(listed["data"])
    return ["".join(part.get("text", "") for part in message["content"]) for message in listed["data"]]


async def messages(server: Running, conversation_id: str) -> list[dict[str, Any]]:
    return list((await server.call("GET", f"/v1/conversations/{conversation_id}/messages?page_size=500"))["data"])


async def fork(server: Running, conversation_id: str, status: int = 201, **fields: Any) -> Any:
    answered = await server.call("POST", f"/v1/conversations/{conversation_id}/fork", status, json=fields)
    return answered["data"] if status == 201 else answered["error"]


async def gone(server: Running, conversation_id: str) -> Any:
    deleted = await server.call("DELETE", f"/v1/conversations/{conversation_id}")
    receipt = (await server.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
    assert receipt["verified_at"], receipt
    return receipt


async def rows(server: Running, table: str) -> int:
    database = await asyncpg.connect(server.dsn)
    try:
        return int(await database.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await database.close()


async def talk(server: Running, conversation_id: str, *texts: str) -> None:
    for text in texts:
        server.model.scripts = [answer(f"Re: {text}")]
        await server.ask(conversation_id, text)


def seen(server: Running) -> list[str]:
    """What the model was given to read, last."""
    return [
        "".join(getattr(part, "text", "") for part in message.parts) for message in server.model.requests[-1].messages
    ]


async def test_a_fork_shares_the_history_and_continues_separately(running: Running) -> None:
    origin = await running.conversation(
        title="Origin", metadata={"a": 1}, user_id="ada", agent={"instructions": "Be brief."}
    )
    await talk(running, origin, "one", "two", "three")
    at = (await messages(running, origin))[3]
    before = await rows(running, "messages")
    made = await fork(running, origin, from_message_id=at["id"], title="Branch")
    assert await rows(running, "messages") == before
    assert (made["title"], made["metadata"], made["user_id"], made["message_count"]) == ("Branch", {"a": 1}, "ada", 4)
    assert made["agent"] == {"instructions": "Be brief."}
    assert made["forked_from"] == {"conversation_id": origin, "message_id": at["id"]}
    assert await said(running, made["id"]) == ["one", "Re: one", "two", "Re: two"]
    for one in (origin, made["id"]):
        tree = (await running.call("GET", f"/v1/conversations/{one}/forks"))["data"]
        assert [found["id"] for found in tree] == [origin, made["id"]]
        assert tree[1]["forked_from"]["conversation_id"] == origin
    await talk(running, made["id"], "other")
    assert seen(running) == ["one", "Re: one", "two", "Re: two", "other"]
    await talk(running, origin, "four")
    assert seen(running) == ["one", "Re: one", "two", "Re: two", "three", "Re: three", "four"]
    assert await said(running, made["id"]) == ["one", "Re: one", "two", "Re: two", "other", "Re: other"]
    pages = [
        (await running.call("GET", f"/v1/conversations/{made['id']}/messages?page_size=4&page={page}"))["data"]
        for page in (1, 2)
    ]
    assert [len(page) for page in pages] == [4, 2]
    # A fork of the fork, below and above the point where it left.
    low, high = (
        await fork(running, made["id"], from_message_id=(await messages(running, made["id"]))[1]["id"]),
        await fork(running, made["id"]),
    )
    assert await said(running, low["id"]) == ["one", "Re: one"]
    assert await said(running, high["id"]) == ["one", "Re: one", "two", "Re: two", "other", "Re: other"]
    # Found by words that are shared, in every conversation that shows them.
    found = {conversation["id"] for conversation in (await running.call("GET", "/v1/conversations?q=two"))["data"]}
    assert found == {origin, made["id"], high["id"]}
    assert {
        conversation["id"] for conversation in (await running.call("GET", "/v1/conversations?q=three"))["data"]
    } == {origin}
    empty = await fork(running, await running.conversation())
    assert (empty["message_count"], await said(running, empty["id"])) == (0, [])


async def test_what_a_fork_refuses(running: Running) -> None:
    origin, other = await running.conversation(), await running.conversation()
    await talk(running, other, "elsewhere")
    foreign = (await messages(running, other))[0]["id"]
    assert list((await fork(running, origin, 400, from_message_id=foreign))["details"]) == ["from_message_id"]
    headers = {"Idempotency-Key": "once"}
    first = await running.call("POST", f"/v1/conversations/{origin}/fork", 201, json={}, headers=headers)
    assert await running.call("POST", f"/v1/conversations/{origin}/fork", 201, json={}, headers=headers) == first
    await running.call("POST", f"/v1/conversations/{origin}/fork", 409, json={"title": "x"}, headers=headers)
    await running.call("POST", f"/v1/conversations/{other}/fork", 409, json={}, headers=headers)


async def test_deleting_the_origin_keeps_what_forks_show(running: Running) -> None:
    origin = await running.conversation()
    await talk(running, origin, "one", "two", "three")
    at = await messages(running, origin)
    short = await fork(running, origin, from_message_id=at[1]["id"])
    long = await fork(running, origin, from_message_id=at[3]["id"])
    await talk(running, long["id"], "mine")
    longest = await fork(running, long["id"])
    receipt = await gone(running, origin)
    assert receipt["stores"]["messages"]["rows"] == 2  # "three" and its answer
    assert receipt["stores"]["runs"]["rows"] == 3
    assert receipt["retained"]["messages"] == 4
    assert set(receipt["retained"]["conversations"]) == {short["id"], long["id"], longest["id"]}
    assert await said(running, short["id"]) == ["one", "Re: one"]
    assert await said(running, long["id"]) == ["one", "Re: one", "two", "Re: two", "mine", "Re: mine"]
    assert await said(running, longest["id"]) == await said(running, long["id"])
    shown = (await running.call("GET", f"/v1/conversations/{short['id']}"))["data"]
    assert "forked_from" not in shown
    assert all("run_id" not in message for message in await messages(running, short["id"]))
    await talk(running, short["id"], "on")
    assert seen(running) == ["one", "Re: one", "on"]
    # The receipt follows what becomes of it.
    await gone(running, long["id"])
    await gone(running, longest["id"])
    again = (await running.call("GET", f"/v1/deletions/{receipt['id']}"))["data"]
    assert again["retained"] == {"messages": 2, "files": 0, "conversations": [short["id"]]}
    last = await gone(running, short["id"])
    assert (last["stores"]["messages"]["rows"], "retained" in last) == (4, False)
    again = (await running.call("GET", f"/v1/deletions/{receipt['id']}"))["data"]
    assert again["retained"] == {"messages": 0, "files": 0, "conversations": []}
    for table in ("messages", "conversations", "conversation_segments", "conversation_files", "runs", "events"):
        assert await rows(running, table) == 0, table


async def test_files_of_shared_messages(running: Running) -> None:
    origin = await running.conversation()
    path = f"/v1/conversations/{origin}/files"
    named = (await running.call("POST", path, 201, files={"file": ("named.txt", b"The named file.")}))["data"]
    loose = (await running.call("POST", path, 201, files={"file": ("loose.txt", b"Never mentioned.")}))["data"]
    part = {"type": "file", "file": {"id": named["id"]}}
    await running.ask(origin, [{"type": "text", "text": "Read this"}, part])
    made = (await fork(running, origin))["id"]
    listed = await running.call("GET", f"/v1/conversations/{made}/files")
    assert ([file["id"] for file in listed["data"]], listed["pagination"]["total_count"]) == ([named["id"]], 1)
    await running.call(
        "POST",
        f"/v3/conversations/{made}/messages",
        400,
        json={"content": [{"type": "file", "file": {"id": loose["id"]}}]},
    )
    await running.ask(made, [{"type": "text", "text": "Again"}, part])
    receipt = await gone(running, origin)
    assert (receipt["retained"]["files"], receipt["stores"]["files"]["rows"], receipt["stores"]["blobs"]["rows"]) == (
        1,
        1,
        1,
    )
    assert (await running.client.get(f"/v1/files/{named['id']}/content")).content == b"The named file."
    await running.call("GET", f"/v1/files/{loose['id']}", 404)
    await running.ask(made, [{"type": "text", "text": "Once more"}, part])
    documents = [
        part for message in running.model.requests[-1].messages for part in message.parts if hasattr(part, "passages")
    ]
    assert documents[0].passages[0].text.strip() == "The named file."
    last = await gone(running, made)
    assert (last["stores"]["files"]["rows"], last["stores"]["blobs"]["rows"]) == (1, 1)
    assert not [file for file in (running.data_dir / "blobs").rglob("*") if file.is_file()]


async def test_an_answer_made_anew(running: Running) -> None:
    conversation = await running.conversation()
    path = f"/v1/conversations/{conversation}/regenerate"
    refused = await running.call("POST", path, 409, json={})
    assert "send one" in refused["error"]["message"]
    await talk(running, conversation, "one", "two")
    running.model.scripts = [answer("Better.")]
    run = (await running.call("POST", path, json={"stream": False}, headers={"Idempotency-Key": "r"}))["data"]
    again = (await running.call("POST", path, json={"stream": False}, headers={"Idempotency-Key": "r"}))["data"]
    assert (run["status"], run["output"], run["id"]) == ("completed", "Better.", again["id"])
    assert seen(running) == ["one", "Re: one", "two"]
    listed = await messages(running, conversation)
    assert run["message_id"] == listed[2]["id"]
    assert [message.get("superseded", False) for message in listed] == [False, False, False, True, False]
    # One that fails does not push out one that was completed.
    running.model.scripts = [[ModelError("model_overloaded", "busy", retryable=True)]]
    assert (await running.call("POST", path, json={"stream": False}))["data"]["status"] == "failed"
    listed = await messages(running, conversation)
    assert [message.get("superseded", False) for message in listed] == [False, False, False, True, False, True]
    edge = (await running.call("GET", f"/v1/conversations/{conversation}/messages?page_size=1&page=4"))["data"][0]
    assert edge["superseded"] is True
    await talk(running, conversation, "three")
    assert seen(running) == ["one", "Re: one", "two", "Better.", "three"]
    # Further back: a fork that ends with the message to answer.
    back = await fork(running, conversation, from_message_id=listed[0]["id"])
    running.model.scripts = [answer("First again.")]
    await running.call("POST", f"/v1/conversations/{back['id']}/regenerate", json={"stream": False})
    assert (seen(running), await said(running, back["id"])) == (["one"], ["one", "First again."])
    # A fork before the better answer was given shows the first one as the one that counts.
    old = await fork(running, conversation, from_message_id=listed[3]["id"])
    assert not any("superseded" in message for message in await messages(running, old["id"]))


async def test_sixteen_answers_are_enough(running: Running) -> None:
    conversation = await running.conversation()
    await talk(running, conversation, "one")
    path = f"/v1/conversations/{conversation}/regenerate"
    for _ in range(15):
        await running.call("POST", path, json={"stream": False})
    refused = await running.call("POST", path, 409, json={"stream": False})
    assert "16 answers" in refused["error"]["message"]
    shown = [message.get("superseded", False) for message in await messages(running, conversation)]
    assert shown == [False, *[True] * 15, False]
    first = (await running.call("GET", f"/v1/conversations/{conversation}/messages?page_size=2"))["data"]
    assert first[1]["superseded"] is True


async def test_a_fork_in_the_middle_pairs_calls_with_results(dsn: str, tmp_path: Path) -> None:
    tool = ScriptedTool("look", [ToolResult("found it")])
    model = ScriptedModel(
        [calling(("look", "{}"), say="Looking. "), answer("There.")],
        Capabilities(images=False, tools=True, context_tokens=8_000),
    )
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool)) as server:
        origin = await server.conversation(agent={"tools": ["look"]})
        await server.ask(origin, "Where?")
        made = (await fork(server, origin))["id"]
        await gone(server, origin)
        server.model.scripts = [answer("Still there.")]
        await server.ask(made, "Sure?")
        calls = [
            part.id
            for message in model.requests[-1].messages
            for part in message.parts
            if type(part).__name__ == "ToolCallPart"
        ]
        results = [
            part.id
            for message in model.requests[-1].messages
            for part in message.parts
            if type(part).__name__ == "ToolResultPart"
        ]
        assert calls == results
        assert len(calls) == 1


@pytest.mark.parametrize("round_", range(2))
async def test_forking_deleting_and_posting_at_once(running: Running, round_: int) -> None:
    """Whatever comes first, every conversation that is left shows its whole history, and nothing refers to what is
    gone."""
    origin = await running.conversation()
    await talk(running, origin, "one", "two")
    forks = [(await fork(running, origin))["id"] for _ in range(3)]
    at = [message["id"] for message in await messages(running, origin)]

    async def quietly(method: str, path: str, **options: Any) -> httpx.Response:
        return await running.client.request(method, path, timeout=60, **options)

    work = [quietly("DELETE", f"/v1/conversations/{origin}"), quietly("DELETE", f"/v1/conversations/{forks[0]}")]
    for source in [origin, *forks]:
        work += [
            quietly("POST", f"/v1/conversations/{source}/fork", json={"from_message_id": message}) for message in at
        ]
        work += [
            quietly(
                "POST",
                f"/v3/conversations/{source}/messages",
                json={"content": "on", "stream": False, "on_busy": "queue"},
            )
            for _ in range(2)
        ]
    work = work[round_ * 5 :] + work[: round_ * 5]
    done = await asyncio.gather(*work)
    assert {response.status_code for response in done} <= {200, 201, 404, 409}, [
        response.text for response in done if response.status_code >= 500
    ]
    assert sum(response.status_code == 200 for response in done if response.request.method == "DELETE") == 2
    left = (await running.call("GET", "/v1/conversations?page_size=500"))["data"]
    assert {conversation["id"] for conversation in left} >= set(forks[1:])
    for conversation in left:
        texts = await said(running, conversation["id"])
        assert len(texts) == conversation["message_count"]
        assert texts[:4] == ["one", "Re: one", "two", "Re: two"][: len(texts)]
    doctor = (await running.call("GET", "/v1/doctor"))["data"]
    assert doctor["healthy"], doctor
    for conversation in left:
        await gone(running, conversation["id"])
    for table in ("messages", "conversation_segments", "conversation_files", "runs", "events", "journals"):
        assert await rows(running, table) == 0, table
