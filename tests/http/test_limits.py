"""Limits of access keys: what may be spent and how often one may ask, on however many nodes; and what is said when
there is no more."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from stoa.gateway import Capabilities, Finish, TextDelta, Usage
from stoa.kernel.clock import SystemClock
from stoa.kernel.errors import DatabaseUnavailable
from stoa.runs.agent.steps import RunStopped
from stoa.runs.recording import Recorder
from stoa.settings import Price
from tests.conftest import Running, serving
from tests.support.bills import key_of
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling

DOLLAR_A_CALL = [[TextDelta("Hello.")], [Usage(0, 1_000_000), Finish("stop")]]


@pytest.fixture
async def priced(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A model whose every answer costs a dollar."""
    model = ScriptedModel([list(DOLLAR_A_CALL)], Capabilities(images=False, tools=True, context_tokens=8_000))
    prices = (Price(model="stoa-extractive", prompt=0, completion=1),)
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(ScriptedTool("again")), prices=prices) as server:
        yield server


async def ask(client: httpx.AsyncClient, conversation_id: str) -> Any:
    response = await client.post(
        f"/v3/conversations/{conversation_id}/messages", json={"content": "Hi", "stream": False}
    )
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def test_a_run_that_reaches_the_limit_says_so(priced: Running) -> None:
    key_id, client = await key_of(priced, spending_limit={"usd": 2.5, "period": "day"})
    async with client:
        conversation = await priced.conversation()
        assert [(await ask(client, conversation))["status"] for _ in range(3)] == ["completed"] * 3
        run = await ask(client, conversation)
        assert (run["status"], run["error"]["code"]) == ("failed", "spending_limit_reached")
        assert "3.0000 US dollars today; its spending_limit is 2.5" in run["error"]["message"]
        assert len(priced.model.requests) == 3
        # Other keys go on; yesterday does not count.
        assert (await priced.ask(conversation))["status"] == "completed"
        database = await asyncpg.connect(priced.dsn)
        await database.execute("UPDATE key_spending SET day = day - 1")
        assert (await ask(client, conversation))["status"] == "completed"
        listed = next(key for key in (await priced.call("GET", "/v1/access-keys"))["data"] if key["id"] == key_id)
        assert listed["spending_limit"] == {"usd": 2.5, "period": "day"}
        # A revoked key takes its counts along; a run of it that ends afterwards still ends.
        await priced.call("DELETE", f"/v1/access-keys/{key_id}")
        assert await database.fetchval("SELECT count(*) FROM key_spending") == 0
        await database.close()


async def test_the_limit_is_looked_at_before_each_call(priced: Running) -> None:
    _, client = await key_of(priced, spending_limit=1.5)
    priced.model.scripts = [[*calling(("again", "{}"))[:-1], [Usage(0, 1_000_000), Finish("tool_calls")]]]
    async with client:
        run = await ask(client, await priced.conversation(agent={"tools": ["again"]}))
    assert (run["status"], run["error"]["code"], run["usage"]["cost_usd"]) == ("failed", "spending_limit_reached", 2.0)
    assert len(priced.model.requests) == 2


async def test_a_step_whose_commit_was_not_answered_is_billed_once(
    priced: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover in the middle of a commit: the step is stored, and nobody is told."""
    record: Any = Recorder._record
    unanswered: list[Any] = []

    async def and_no_answer(self: Recorder, *arguments: Any) -> None:
        await record(self, *arguments)
        if arguments[-1].uses and not arguments[-1].events and not unanswered:
            unanswered.append(arguments[-1])
            raise DatabaseUnavailable("The database went away during this request; try again in a moment.")

    monkeypatch.setattr(Recorder, "_record", and_no_answer)
    priced.model.scripts = [[*calling(("again", "{}"))[:-1], [Usage(0, 1_000_000), Finish("tool_calls")]]]
    run = await priced.ask(await priced.conversation(agent={"tools": ["again"]}))
    assert unanswered, "a step without events was stored"
    report = (await priced.call("GET", "/v1/doctor"))["data"]
    assert report["healthy"], (run["usage"], [check for check in report["checks"] if check["count"]])


async def test_an_unknown_price_is_no_price_of_nothing(running: Running) -> None:
    _, client = await key_of(running, spending_limit=1)
    async with client:
        run = await ask(client, await running.conversation())
    assert run["status"] == "completed"  # The built-in model's price is known: nothing.
    limited = run_of(spending_limit={"usd": 1, "period": "total"})
    recorder: Any = Recorder(None, None, SystemClock(), uuid4())  # type: ignore[arg-type]
    assert recorder.allowance(run_of(), lambda _: None) is None
    with pytest.raises(RunStopped, match="no price is known"):
        await recorder.allowance(limited, lambda _: None)(0.0)


def run_of(**options: Any) -> Any:
    return SimpleNamespace(options=options)


async def test_runs_at_once_overshoot_by_what_is_in_flight(priced: Running) -> None:
    gate = asyncio.Event()
    priced.model.scripts = [[gate, *DOLLAR_A_CALL]]
    _, client = await key_of(priced, spending_limit=2)
    async with client:
        talks = [await priced.conversation() for _ in range(6)]
        under_way = [asyncio.create_task(ask(client, talk)) for talk in talks]
        async with asyncio.timeout(10):
            while priced.model.open < 6:
                await asyncio.sleep(0.01)
        gate.set()
        assert {run["status"] for run in await asyncio.gather(*under_way)} == {
            "completed"
        }  # All were let through before any was paid.
        refused = await asyncio.gather(*(ask(client, talk) for talk in talks))
        assert {run["error"]["code"] for run in refused} == {"spending_limit_reached"}
        assert len(priced.model.requests) == 6


async def test_requests_per_minute_over_two_nodes(running: Running, tmp_path: Path) -> None:
    async with serving(running.dsn, tmp_path, ScriptedModel()) as second:
        _, client = await key_of(running, rate_limit=5)
        async with client:
            urls = [f"{server.url}/v1/conversations" for server in (running, second, running, second, running)]
            answers = [await client.get(url) for url in urls]
            assert [answered.status_code for answered in answers] == [200] * 5
            assert [answered.headers["ratelimit-remaining"] for answered in answers] == ["4", "3", "2", "1", "0"]
            assert answers[0].headers["ratelimit-limit"] == "5"
            refused = await client.get(f"{second.url}/v1/conversations")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 12
            assert (refused.headers["ratelimit-remaining"], int(refused.headers["ratelimit-reset"]) > 50) == ("0", True)
            assert "5 requests a minute" in refused.json()["error"]["message"]
            # It fills evenly: a request comes back each twelve seconds.
            database = await asyncpg.connect(running.dsn)
            await database.execute("UPDATE key_rates SET busy_until = busy_until - interval '12 seconds'")
            await database.close()
            burst = await asyncio.gather(*(client.get(f"{running.url}/v1/conversations") for _ in range(10)))
            assert sorted(answered.status_code for answered in burst) == [200, *[429] * 9]
    assert "ratelimit-limit" not in (await running.client.get("/v1/conversations")).headers


async def test_streams_count_and_say_what_is_left(running: Running) -> None:
    _, client = await key_of(running, rate_limit=2)
    async with client:
        talk = await running.conversation()
        streamed = await client.post(f"/v3/conversations/{talk}/messages", json={"content": "Hi"})
        assert (streamed.headers["ratelimit-remaining"], streamed.headers["content-type"][:17]) == (
            "1",
            "text/event-stream",
        )


async def test_a_knowledge_bases_host_says_what_is_left_too(running: Running) -> None:
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "Limited"}))["data"]
    _, client = await key_of(running, rate_limit=2)
    async with client:
        for left, (path, host) in zip(
            "10", ((f"/kb/{base['id']}/v1/items", {}), ("/v1/items", {"Host": base["hostname"]})), strict=True
        ):
            answered = await client.get(running.url + path, headers=host)
            assert (answered.status_code, answered.headers["ratelimit-remaining"]) == (200, left)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rate_limit": 0}, "rate_limit"),
        ({"rate_limit": "many"}, "rate_limit"),
        ({"spending_limit": -1}, "spending_limit.usd"),
        ({"spending_limit": {"usd": 1}}, "spending_limit.period"),
        ({"spending_limit": {"usd": 1, "period": "hour"}}, "spending_limit.period"),
    ],
)
async def test_limits_that_are_none(shared_server: Running, fields: dict[str, object], named: str) -> None:
    refused = await shared_server.call("POST", "/v1/access-keys", 400, json={"name": "k", **fields})
    assert list(refused["error"]["details"]) == [named]


async def test_a_limited_key_makes_no_keys(shared_server: Running) -> None:
    _, client = await key_of(shared_server, rate_limit=100)
    async with client:
        assert (await client.post("/v1/access-keys", json={"name": "free"})).status_code == 403


async def test_a_queued_run_that_was_never_executed_is_not_billed(running: Running) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[gate, *answer("Done.")]]
    talk = await running.conversation()
    path = f"/v3/conversations/{talk}/messages"
    first = (await running.call("POST", path, 202, json={"content": "Go", "background": True}))["data"]
    queued = (
        await running.call("POST", path, 202, json={"content": "And " * 400, "background": True, "on_busy": "queue"})
    )["data"]
    await running.call("DELETE", f"/v1/conversations/{talk}/queue/{queued['id']}")
    gate.set()
    await running.status(first["id"], "completed")
    assert (await running.status(queued["id"], "canceled"))["usage"]["total_tokens"] == 0
