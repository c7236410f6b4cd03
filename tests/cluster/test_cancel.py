"""Cancelled at any moment, from a node that does not carry the run: acknowledged, over, closed upstream, kept and paid
for."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.support.nodes import Node, ToolServer, hidden, script
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)
CLOSED_SECONDS_MAX = 0.25


async def canceled(node: Node, run_id: str) -> tuple[Any, list[dict[str, Any]], float]:
    """The run after its cancel, its events, and when the cancel was acknowledged. Nothing may be written after that."""
    assert await node.call("POST", f"/v1/runs/{run_id}/cancel") == {"message": "canceled"}
    acknowledged = time.monotonic()
    events = await node.events(run_id)
    assert (events[-1]["type"], events[-1]["data"]["reason"]) == ("run.canceled", "user")
    await asyncio.sleep(0.1)
    assert await node.events(run_id) == events
    return (await node.run(run_id))["usage"], events, acknowledged


async def reached(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def closed(entry: dict[str, Any], acknowledged: float) -> None:
    await reached(lambda: entry["state"] == "aborted")
    assert entry["since"] - acknowledged < CLOSED_SECONDS_MAX


@pytest.mark.parametrize("moment", ["before the first token", "mid-delta"])
async def test_while_the_model_speaks(four: list[Node], upstream: ScriptedServer, moment: str) -> None:
    name = uuid4().hex
    fields: dict[str, Any] = (
        {"first_delay": 30} if moment.startswith("before") else {"pieces": ["One ", "two ", "three."], "stall": 2}
    )
    conversation = await four[0].conversation()
    run_id = await four[0].send(conversation, script(id=name, usage=False, **fields))
    await reached(
        lambda: (
            upstream.log.get(name, {}).get("state") == "running"
            and (moment.startswith("before") or upstream.log[name]["said"] == 2)
        )
    )
    if not moment.startswith("before"):
        async with asyncio.timeout(10):
            while len(await four[1].events(run_id)) < 2:
                await asyncio.sleep(0.01)
    usage, _, acknowledged = await canceled(four[1], run_id)
    await closed(upstream.log[name], acknowledged)
    assert (usage["estimated"], usage["prompt_tokens"] > 0) == (True, True)
    messages = (await four[2].call("GET", f"/v1/conversations/{conversation}/messages"))["data"]
    assert (messages[1]["status"], messages[1]["content"][0]["text"]) == (
        "canceled",
        "" if moment.startswith("before") else "One two ",
    )
    assert (usage["completion_tokens"] > 0) == (not moment.startswith("before"))


async def test_in_a_tool(four: list[Node], world: ToolServer) -> None:
    name = f"slow{uuid4().hex[:8]}"
    await four[0].call("POST", "/v1/tools", 201, json=world.tool(name))
    conversation = await four[0].conversation(agent={"tools": [name]})
    tool = {"name": name, "arguments": json.dumps({"n": name, "wait": 30})}
    run_id = await four[0].send(conversation, script(turns=[{"tool": tool, "pieces": ["Wait. "]}]))
    await reached(lambda: [made for made in world.made if made.arguments.get("n") == name])
    (made,) = [made for made in world.made if made.arguments.get("n") == name]
    usage, _, acknowledged = await canceled(four[1], run_id)
    await reached(lambda: made.state == "aborted")
    assert made.ended_at - acknowledged < CLOSED_SECONDS_MAX
    ledger = (await four[2].call("GET", f"/v1/runs/{run_id}/tool-calls"))["data"]
    assert [line["status"] for line in ledger] == ["unknown"], "nobody knows what it did"
    assert (usage["prompt_tokens"], usage.get("estimated")) == (10, None)


async def test_in_a_subagent(four: list[Node], upstream: ScriptedServer) -> None:
    name = uuid4().hex
    brief = hidden(script(id=f"{name}-helper", pieces=["I ", "help ", "you."], stall=2))
    turns = [
        {
            "tool": {"name": "delegate", "arguments": json.dumps({"brief": brief}).replace("\\\\u005d", "\\u005d")},
            "pieces": ["Handing on. "],
        }
    ]
    conversation = await four[0].conversation(agent={"instructions": "Work."})
    run_id = await four[0].send(
        conversation, script(id=name, turns=turns).replace("\\\\u005d", "\\u005d"), subagents_enabled=True
    )
    await reached(lambda: upstream.log.get(f"{name}-helper", {}).get("said") == 2)
    usage, events, acknowledged = await canceled(four[1], run_id)
    await closed(upstream.log[f"{name}-helper"], acknowledged)
    assert any(event["type"] == "agent.subagent.started" for event in events)
    assert (usage["prompt_tokens"] > 10, usage["estimated"]) == (True, True), "the helper's words are paid for too"


async def test_while_it_waits_for_people(four: list[Node], world: ToolServer) -> None:
    name = f"pay{uuid4().hex[:8]}"
    await four[0].call("POST", "/v1/tools", 201, json=world.tool(name, approval=True))
    conversation = await four[0].conversation(agent={"tools": [name]})
    run_id = await four[0].send(
        conversation, script(turns=[{"tool": {"name": name, "arguments": "{}"}, "pieces": ["May I? "]}])
    )
    run = await four[1].run(run_id, "paused")
    await canceled(four[2], run_id)
    late = {"type": "approval", "data": {"request_id": run["input_requests"][0]["id"], "approved": True}}
    await four[3].call("POST", f"/v1/runs/{run_id}/input", 400, json=late)
    messages = (await four[3].call("GET", f"/v1/conversations/{conversation}/messages"))["data"]
    assert messages[1]["content"][0]["text"] == "May I? "


async def test_while_it_waits_for_its_turn(four: list[Node]) -> None:
    conversation = await four[0].conversation()
    first = await four[0].send(conversation, script(pieces=["a", "b"], stall=1))
    second = await four[1].send(conversation, script(pieces=["never"]), on_busy="queue")
    await canceled(four[2], second)
    await canceled(four[3], first)
    messages = (await four[3].call("GET", f"/v1/conversations/{conversation}/messages"))["data"]
    assert [message["run_id"] for message in messages] == [first, first]


async def test_concurrent_cancels_end_the_run_once(four: list[Node], upstream: ScriptedServer) -> None:
    """One end, however many want it, wherever they are."""
    name = uuid4().hex
    conversation = await four[0].conversation()
    run_id = await four[0].send(conversation, script(pieces=["a", "b"], stall=1, id=name))
    await reached(lambda: upstream.log.get(name, {}).get("said") == 1)
    answers = await asyncio.gather(*(node.call("POST", f"/v1/runs/{run_id}/cancel") for node in four * 5))
    assert answers == [{"message": "canceled"}] * 20
    assert sum(event["type"] == "run.canceled" for event in await four[1].events(run_id)) == 1
    report = (await four[2].call("GET", "/v1/doctor"))["data"]
    assert report["healthy"], [check for check in report["checks"] if check["count"] or check["status"] != "complete"]


async def test_answered_and_cancelled_at_once(four: list[Node], world: ToolServer) -> None:
    """An answer lets any node take the run up while another ends it: whoever wins, an acknowledged cancel is the
    end."""
    name = f"pay{uuid4().hex[:8]}"
    await four[0].call("POST", "/v1/tools", 201, json=world.tool(name, approval=True))
    agent, text = (
        {"tools": [name]},
        script(
            turns=[
                {"tool": {"name": name, "arguments": "{}"}, "pieces": ["May I? "]},
                {"pieces": ["a", "b"], "stall": 1},
            ]
        ),
    )

    async def once(index: int) -> None:
        one, two, three = (four[(index + step) % 4] for step in range(3))
        run_id = await one.send(await one.conversation(agent=agent), text)
        asked = (await one.run(run_id, "paused"))["input_requests"][0]["id"]
        body = {"type": "approval", "data": {"request_id": asked, "approved": True}}

        async def answer() -> None:
            async with two.client() as http:
                while (status := (await http.post(f"/v1/runs/{run_id}/input", json=body)).status_code) == 503:
                    await asyncio.sleep(0.02)  # The two met in the database; as a client would, it tries again.
            assert status in (200, 400)

        async def cancel() -> list[dict[str, Any]]:
            await asyncio.sleep(index % 5 * 0.005)
            await three.call("POST", f"/v1/runs/{run_id}/cancel")
            return await three.events(run_id)

        _, events = await asyncio.gather(answer(), cancel())
        assert events[-1]["type"] == "run.canceled"
        await asyncio.sleep(0.2)
        assert await one.events(run_id) == events

    await asyncio.gather(*(once(index) for index in range(20)))
