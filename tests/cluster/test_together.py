"""Four nodes on one database are one server: whatever began on one goes on, is seen, is answered and is ended on any
other."""

import asyncio
import hashlib
from uuid import uuid4

import asyncpg
import pytest

from tests.support.nodes import TERMINAL, Node, ToolServer, script
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)


async def test_every_node_serves_every_conversation(four: list[Node]) -> None:
    """Two nodes and four: made on one, written to on the next, followed on the third, read on the fourth."""
    for place in range(4):
        one, two, three, last = (four[(place + step) % 4] for step in range(4))
        conversation = await one.conversation(title=f"From {place}")
        run_id = await two.send(conversation, script(pieces=[f"{place}.{n} " for n in range(20)], delay=0.005))
        followed = [line async for _, line in three.follow(run_id)]
        again = [line async for _, line in last.follow(run_id)]
        assert followed == again
        events = await last.events(run_id)
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert (
            events[-1]["data"]["log"]["sha256"]
            == hashlib.sha256("".join(f"{line}\n" for line in followed[:-1]).encode()).hexdigest()
        )
        messages = (await one.call("GET", f"/v1/conversations/{conversation}/messages"))["data"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[1]["content"][0]["text"] == "".join(f"{place}.{n} " for n in range(20))


async def test_a_stream_that_broke_on_one_node_resumes_on_another(four: list[Node]) -> None:
    conversation = await four[0].conversation()
    run_id = await four[0].send(conversation, script(pieces=[f"{n} " for n in range(60)], delay=0.01))
    seen: list[str] = []
    ended, cuts = False, 0
    while not ended:
        node = four[(cuts + 1) % 4]
        async for event, line in node.follow(run_id, len(seen)):
            assert event["sequence"] == len(seen) + 1
            seen.append(line)
            ended = event["type"] in TERMINAL
            if len(seen) % 7 == 0:
                cuts += 1
                break
    assert cuts > 2
    assert seen == [line async for _, line in four[0].follow(run_id)]


async def test_a_paused_run_is_answered_anywhere_and_once(four: list[Node], world: ToolServer) -> None:
    name = f"pay{uuid4().hex[:6]}"
    await four[0].call("POST", "/v1/tools", 201, json=world.tool(name, approval=True))
    conversation = await four[0].conversation(agent={"tools": [name]})
    turns = [{"tool": {"name": name, "arguments": '{"n": "x"}'}, "pieces": ["Let me pay. "]}, {"pieces": ["Paid."]}]
    run_id = await four[1].send(conversation, script(turns=turns))
    run = await four[2].run(run_id, "paused")
    body = {"type": "approval", "data": {"request_id": run["input_requests"][0]["id"], "approved": True}}

    async def answer(node: Node) -> int:
        async with node.client() as http:
            return (await http.post(f"/v1/runs/{run_id}/input", json=body)).status_code

    codes = await asyncio.gather(*(answer(node) for node in four * 3))
    assert sorted(codes) == [200] + [400] * 11
    run = await four[3].run(run_id, "completed")
    assert (run["output"], run["attempt"]) == ("Let me pay. Paid.", 1)
    assert len([made for made in world.made if made.arguments == {"n": "x"}]) == 1


async def test_a_hundred_identical_posts_over_all_nodes_make_one_run_and_one_bill(
    four: list[Node], upstream: ScriptedServer
) -> None:
    """And the thousandth repetition, on a node that was started anew, finds the same."""
    conversation = await four[0].conversation()
    path, name = f"/v3/conversations/{conversation}/messages", uuid4().hex
    body = {"content": script(pieces=["Once", "."], delay=0.02, id=name), "stream": False}
    headers = {"Idempotency-Key": f"storm-{name}"}

    async def post(node: Node, body: dict[str, object]) -> tuple[int, str]:
        async with node.client(60) as http:
            response = await http.post(path, json=body, headers=headers)
        return response.status_code, response.json().get("data", {}).get("id", "")

    answers = await asyncio.gather(*(post(node, body) for node in four * 25))
    ((status, run_id),) = set(answers)
    assert status == 200
    await four[3].kill()
    await four[3].start()
    assert await post(four[3], body) == (200, run_id)
    assert (await post(four[3], {**body, "content": "Something else"}))[0] == 409
    assert upstream.log[name]["asked"] == 1
    connection = await asyncpg.connect(four[0].dsn)
    try:
        for table in ("model_calls", "runs", "idempotency_keys"):
            column = {"model_calls": "conversation_id", "runs": "conversation_id", "idempotency_keys": "subject_id"}[
                table
            ]
            subject = run_id if table == "idempotency_keys" else conversation
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = $1", subject) == 1, table
        assert await connection.fetchval("SELECT count(*) FROM messages WHERE conversation_id = $1", conversation) == 2
    finally:
        await connection.close()


async def test_all_of_them_are_healthy(four: list[Node]) -> None:
    report = (await four[2].call("GET", "/v1/doctor"))["data"]
    assert report["healthy"], [check for check in report["checks"] if check["count"] or check["status"] != "complete"]
