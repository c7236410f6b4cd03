"""Responses over a WebSocket, and conversations that are compacted: what the public Open Responses suite asks."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import FIRST_KEY, Running
from tests.support.bills import key_of
from tests.support.doubles import Step, answer

MODEL = "stoa-extractive"


def says(server: Running, *scripts: list[Step]) -> None:
    server.model.requests.clear()
    server.model.scripts = list(scripts)


@asynccontextmanager
async def connected(server: Running, key: str = FIRST_KEY) -> AsyncGenerator[ClientConnection]:
    url = f"{server.url.replace('http', 'ws', 1)}/openai/v1/responses"
    async with connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as made:
        yield made


async def create(socket: ClientConnection, given: Any, **fields: Any) -> list[dict[str, Any]]:
    """The events of a response, or the one that refuses it."""
    await socket.send(json.dumps({"type": "response.create", "model": MODEL, "input": given, **fields}))
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not events or events[-1]["type"] not in ("response.completed", "response.failed", "error"):
            events.append(json.loads(await socket.recv()))
    return events


def told(server: Running) -> Sequence[tuple[str, str]]:
    return [
        (message.role, "".join(getattr(part, "text", "") for part in message.parts))
        for message in server.model.requests[-1].messages
    ]


async def test_one_response_after_the_other(shared_server: Running) -> None:
    says(shared_server, answer("One."), answer("Two."))
    async with connected(shared_server) as socket:
        first = await create(socket, "First")
        assert [event["sequence_number"] for event in first] == list(range(len(first)))
        assert first[0]["type"] == "response.created"
        made = first[-1]["response"]
        assert made["output"][0]["content"][0]["text"] == "One."
        second = (await create(socket, "Second", previous_response_id=made["id"]))[-1]["response"]
    assert told(shared_server) == [("user", "First"), ("assistant", "One."), ("user", "Second")]
    stored = await shared_server.call("GET", f"/openai/v1/responses/{second['id']}")
    assert (stored["output"], stored["previous_response_id"]) == (second["output"], made["id"])


async def test_what_is_not_stored_goes_on_on_its_own_connection(shared_server: Running) -> None:
    says(shared_server, answer("OK."), answer("cobalt"), answer("Fine."))
    async with connected(shared_server) as socket:
        first = (await create(socket, "The word is cobalt.", store=False))[-1]["response"]
        second = (await create(socket, "Which?", store=False, previous_response_id=first["id"]))[-1]["response"]
        assert second["output"][0]["content"][0]["text"] == "cobalt"
        assert told(shared_server)[0] == ("user", "The word is cobalt.")
        unknown = {"type": "function_call_output", "call_id": "call_none", "output": "x"}
        (refused,) = await create(socket, [unknown], store=False, previous_response_id=first["id"])
        assert (refused["type"], refused["status"]) == ("error", 400)
        (gone,) = await create(socket, "And?", store=False, previous_response_id=first["id"])
        assert (gone["status"], gone["error"]["code"]) == (404, "previous_response_not_found")
    async with connected(shared_server) as other:
        (gone,) = await create(other, "And?", store=False, previous_response_id=second["id"])
        assert gone["error"]["code"] == "previous_response_not_found"
        assert (await create(other, "Anew.", store=False))[-1]["response"]["status"] == "completed"
    await shared_server.call("GET", f"/openai/v1/responses/{second['id']}", 404)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ("[1]", "type"),
        ("{", "body"),
        ('{"type": "response.cancel"}', "type"),
        ('{"type": "response.create"}', "model"),
        ('{"type": "response.create", "model": "m", "input": "x", "stream": true}', "stream"),
        ('{"type": "response.create", "model": "m", "input": "x", "background": true}', "background"),
    ],
)
async def test_refusals_leave_the_connection_open(shared_server: Running, sent: str, param: str) -> None:
    says(shared_server, answer("One."))
    async with connected(shared_server) as socket:
        await socket.send(sent)
        async with asyncio.timeout(10):
            refused = json.loads(await socket.recv())
        assert (refused["type"], refused["status"], refused["error"]["param"]) == ("error", 400, param)
        assert (await create(socket, "Hi"))[-1]["type"] == "response.completed"


async def test_who_may_not_come_in(shared_server: Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connected(shared_server, "nonsense"):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["type"] == "authentication_error"
    key_id, client = await key_of(shared_server, permissions=["conversations:write"])
    async with client, connected(shared_server, client.headers["authorization"].removeprefix("Bearer ")) as socket:
        await shared_server.call("DELETE", f"/v1/access-keys/{key_id}")
        await socket.send(json.dumps({"type": "response.create", "model": MODEL, "input": "Hi"}))
        async with asyncio.timeout(10):
            assert json.loads(await socket.recv())["status"] == 401
            with pytest.raises(ConnectionClosed):
                await socket.recv()


async def test_a_conversation_is_compacted_and_goes_on(shared_server: Running) -> None:
    says(shared_server, answer("The launch is on Tuesday."), answer("Tuesday."))
    history = [
        {"type": "message", "role": "user", "content": "We launch on Tuesday."},
        {"type": "message", "role": "assistant", "content": "Understood."},
    ]
    body = {"model": MODEL, "input": history, "prompt_cache_key": "k"}
    made = await shared_server.call("POST", "/openai/v1/responses/compact", json=body)
    assert (made["object"], [item["type"] for item in made["output"]]) == ("response.compaction", ["compaction"])
    assert told(shared_server)[-1][1].startswith("Sum up")
    assert made["usage"]["total_tokens"] > 0
    foreign = {"type": "compaction", "encrypted_content": "gAAAA of another server"}
    body = {"model": MODEL, "input": [foreign, *made["output"], {"role": "user", "content": "When?"}]}
    after = await shared_server.call("POST", "/openai/v1/responses", json=body)
    assert after["output"][0]["content"][0]["text"] == "Tuesday."
    request = shared_server.model.requests[-1]
    assert "The launch is on Tuesday." in f"{request.instructions} {told(shared_server)}"
    for missing in ("model", "input"):
        refused = {name: value for name, value in body.items() if name != missing}
        await shared_server.call("POST", "/openai/v1/responses/compact", 400, json=refused)
