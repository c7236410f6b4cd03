"""Golden transcripts: the exact bytes of a stream, with clock and ids handed in.

To accept a change on purpose: `STOA_UPDATE_GOLDEN=1 make test`, then read the difference before it is committed.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoa.gateway import Finish, ModelError, ReasoningDelta, TextDelta, Usage
from tests.conftest import Running, serving
from tests.support.doubles import CountingIds, FixedClock, ScriptedModel, Step

GOLDEN = Path(__file__).parent / "golden"
QUIET = {"X-Request-Id": "golden"}


@pytest.fixture
async def golden(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(dsn, tmp_path, ScriptedModel(), clock=FixedClock(), ids=CountingIds()) as server:
        server.client.headers.update(QUIET)
        yield server


def script(model: ScriptedModel, *batches: Step) -> list[asyncio.Event]:
    """The batches with a gate before each: opened one by one, they cannot meet in a tick."""
    gates = [asyncio.Event() for _ in batches]
    model.scripts = [[step for pair in zip(gates, batches, strict=True) for step in pair]]
    return gates


async def transcript(server: Running, gates: list[asyncio.Event], conversation_id: str) -> bytes:
    """A whole POST stream; each gate is opened by the event before it."""
    seen = b""
    waiting = iter(gates)
    path = f"/v3/conversations/{conversation_id}/messages"
    async with server.client.stream(
        "POST", path, json={"content": [{"type": "text", "text": "Summarize the ticket."}]}
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for chunk in response.aiter_raw():
            seen += chunk
            for _ in range(chunk.count(b"\n\n")):
                if gate := next(waiting, None):
                    gate.set()
    return seen


def check(name: str, seen: bytes) -> None:
    path = GOLDEN / f"{name}.sse"
    if os.environ.get("STOA_UPDATE_GOLDEN"):
        path.write_bytes(seen)
    assert seen == path.read_bytes()


async def test_plain_answer(golden: Running) -> None:
    gates = script(
        golden.model,
        [TextDelta("The customer")],
        [TextDelta(" cannot log in — “403”.\n")],
        [Usage(21, 8), Finish("stop")],
    )
    gates[2].set()
    check("plain", await transcript(golden, gates, await golden.conversation()))


async def test_reasoning_then_answer(golden: Running) -> None:
    gates = script(
        golden.model,
        [ReasoningDelta("A login problem.")],
        [TextDelta("She cannot log in.")],
        [Usage(21, 12, 16, 4), Finish("stop")],
    )
    gates[2].set()
    check("reasoning", await transcript(golden, gates, await golden.conversation()))


async def test_the_model_fails(golden: Running) -> None:
    failure = ModelError("model_overloaded", "The provider answered 529: Overloaded", retryable=True)
    gates = script(golden.model, [TextDelta("The cust")], failure)
    check("failure", await transcript(golden, gates, await golden.conversation()))


async def test_cancel_keeps_the_partial_answer(golden: Running) -> None:
    conversation_id = await golden.conversation()
    gates = script(golden.model, [TextDelta("The customer")], [TextDelta(" never comes to this.")])
    gates[0].set()
    seen = b""
    async with golden.client.stream(
        "POST", f"/v3/conversations/{conversation_id}/messages", json={"content": "Go"}
    ) as response:
        async for chunk in response.aiter_raw():
            seen += chunk
            if seen.count(b"\n\n") == 2 and b"canceled" not in seen:
                await golden.call("POST", f"/v1/runs/{response.headers['stoa-run-id']}/cancel")
    check("cancel", seen)
    messages = (await golden.call("GET", f"/v1/conversations/{conversation_id}/messages"))["data"]
    assert [(message["role"], message["status"]) for message in messages] == [
        ("user", "completed"),
        ("assistant", "canceled"),
    ]
    assert messages[1]["content"] == [{"type": "text", "text": "The customer"}]
    assert golden.model.open == 0


async def test_resume_in_the_middle_and_at_the_very_end(golden: Running) -> None:
    gates = script(
        golden.model, [TextDelta("One")], [TextDelta(" two")], [TextDelta(" three")], [Usage(1, 3), Finish("stop")]
    )
    gates[3].set()
    conversation_id = await golden.conversation()
    whole = await transcript(golden, gates, conversation_id)
    run_id = (await golden.call("GET", "/v1/runs"))["data"][0]["id"]
    middle = await golden.client.get(f"/v1/runs/{run_id}/stream?after_sequence=2")
    check("resume-middle", middle.content)
    assert whole.endswith(middle.content)
    by_header = await golden.client.get(f"/v1/runs/{run_id}/stream", headers={"Last-Event-ID": "2"})
    assert by_header.content == middle.content
    end = await golden.client.get(f"/v1/runs/{run_id}/stream?after_sequence=5")
    assert (end.status_code, end.content) == (204, b"")
    told_to_stay_away = await golden.client.get(f"/v1/runs/{run_id}/stream", headers={"Last-Event-ID": "5"})
    assert told_to_stay_away.status_code == 204
