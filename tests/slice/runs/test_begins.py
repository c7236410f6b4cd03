"""How a run begins: what its model reads is collected beside the transaction that starts it."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from stoa.conversations import Transcript
from stoa.db import idempotency
from stoa.gateway import ModelMessage, TextPart
from stoa.kernel.errors import DatabaseUnavailable
from tests.conftest import Running
from tests.support.doubles import answer


async def test_each_message_is_in_the_models_context_once(running: Running) -> None:
    talk = await running.conversation()
    for text in ("One", "Two", "Three"):
        await running.ask(talk, text)
    said = [
        ModelMessage("user", (TextPart("One"),)),
        ModelMessage("assistant", (TextPart("Hello there."),)),
        ModelMessage("user", (TextPart("Two"),)),
    ]
    assert [list(request.messages) for request in running.model.requests[:2]] == [said[:1], said]
    assert len(running.model.requests[2].messages) == 5


async def test_a_start_that_fails_leaves_nothing_of_its_preparation(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, cut = asyncio.Event(), asyncio.Event()
    talk = await running.conversation()
    await running.ask(talk)

    async def read_for_ever(*_: object) -> Sequence[Any]:
        reading.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cut.set()
        raise AssertionError("unreachable")

    async def fail(*_: object) -> None:
        await reading.wait()
        raise DatabaseUnavailable("The database cannot be reached just now; try again in a moment.")

    with monkeypatch.context() as broken:
        broken.setattr(Transcript, "messages", read_for_ever)
        broken.setattr(idempotency, "record", fail)
        await running.call(
            "POST",
            f"/v3/conversations/{UUID(talk)}/messages",
            503,
            json={"content": "Hi"},
            headers={"Idempotency-Key": "once"},
        )
        async with asyncio.timeout(5):
            await cut.wait()
    assert len(running.model.requests) == 1
    assert (await running.ask(talk))["status"] == "completed", "the conversation is free"
    assert len(running.model.requests[1].messages) == 3, "and knows nothing of the message"


async def test_of_many_concurrent_starts_one_succeeds(running: Running) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[gate, *answer("Hello.")], answer("Again.")]
    talk = await running.conversation()
    path = f"/v3/conversations/{talk}/messages"
    asked = [running.client.post(path, json={"content": f"Hi {number}", "background": True}) for number in range(12)]
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [202] + [409] * 11
    (run,) = [one.json()["data"]["id"] for one in answers if one.status_code == 202]
    assert {one.json()["error"]["details"]["active_run_id"] for one in answers if one.status_code == 409} == {run}
    gate.set()
    await running.status(run, "completed")
    assert (await running.ask(talk))["output"] == "Again."
    roles = [message["role"] for message in (await running.call("GET", f"/v1/conversations/{talk}/messages"))["data"]]
    assert roles == ["user", "assistant"] * 2, "what was refused has left nothing"
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]
