"""The bill as its readers see it: by run, conversation, key, project, model and day, and by what is left after a
deletion."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from stoa.gateway import Capabilities, Finish, TextDelta, Usage
from stoa.settings import Price
from tests.conftest import Running, serving
from tests.support.bills import usage
from tests.support.doubles import ScriptedModel, ScriptedTool, Shelf, answer, calling

COUNTED = [[TextDelta("Hello.")], [Usage(1_000, 500, cached_tokens=400, reasoning_tokens=100), Finish("stop")]]
"""At the fixture's prices 600 fresh, 400 cached and 500 completion tokens are 1,200 + 400 + 4,000 millionths of a
dollar."""


@pytest.fixture
async def priced(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([list(COUNTED)], Capabilities(images=False, tools=True, context_tokens=8_000))
    prices = (Price(model="stoa-*", prompt=2, completion=8, cached=1),)
    async with serving(dsn, tmp_path, model, toolbox=Shelf(ScriptedTool("look")), prices=prices) as server:
        yield server


async def test_sums_by_whatever_is_asked(priced: Running) -> None:
    first, second = await priced.conversation(user_id="ada"), await priced.conversation()
    run = await priced.ask(first)
    assert run["usage"] == {
        "prompt_tokens": 1_000,
        "completion_tokens": 500,
        "total_tokens": 1_500,
        "cached_tokens": 400,
        "reasoning_tokens": 100,
        "cost_usd": 0.0056,
    }
    await priced.ask(first)
    made = (await priced.call("POST", "/v1/access-keys", 201, json={"name": "other"}))["data"]
    await priced.call(
        "POST",
        f"/v3/conversations/{second}/messages",
        json={"content": "Hi", "stream": False},
        headers={"Authorization": f"Bearer {made['key']}"},
    )
    (total,) = await usage(priced)
    assert total == {
        "calls": 3,
        "prompt_tokens": 3_000,
        "cached_tokens": 1_200,
        "completion_tokens": 1_500,
        "reasoning_tokens": 300,
        "total_tokens": 4_500,
        "cost_usd": 0.0168,
        "estimated_calls": 0,
        "unpriced_calls": 0,
    }
    by_key = {row["key_id"]: row["calls"] for row in await usage(priced, "group_by=key_id")}
    assert by_key[made["id"]] == 1
    assert sorted(by_key.values()) == [1, 2]
    assert {row["conversation_id"]: row["calls"] for row in await usage(priced, "group_by=conversation_id,model")} == {
        first: 2,
        second: 1,
    }
    assert [row["run_id"] for row in await usage(priced, f"group_by=run_id&run_id={run['id']}")] == [run["id"]]
    assert {row.get("user_id"): row["calls"] for row in await usage(priced, "group_by=user_id")} == {"ada": 2, None: 1}
    project = (await priced.call("GET", "/v1/projects"))["data"][0]["id"]
    (row,) = await usage(priced, "group_by=project_id,model,day")
    assert (row["project_id"], row["model"], len(row["day"])) == (project, "stoa-extractive", 10)
    assert await usage(priced, "to=2026-01-01T00:00:00Z") == []
    shown = (await priced.call("GET", f"/v1/conversations/{first}"))["data"]["usage"]
    assert (shown["total_tokens"], shown["cost_usd"]) == (3_000, 0.0112)
    paged = await priced.call("GET", "/v1/usage?group_by=run_id&page_size=2&page=2&sort=calls")
    assert (len(paged["data"]), paged["pagination"]["total_count"]) == (1, 3)
    assert (await priced.call("GET", "/v1/usage?group_by=run_id&page=9"))["pagination"]["total_count"] == 3


async def test_what_cannot_be_asked(priced: Running) -> None:
    for query, named in (
        ("group_by=weather", "group_by"),
        ("from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "from"),
        ("from=2020-01-01T00:00:00Z", "from"),
        ("from=yesterday", "from"),
        ("sort=evil", "sort"),
        ("key_id=x", "key_id"),
        ("kind=lunch", "kind"),
        ("from=2026-01-01T00:00:00", "from"),
    ):
        refused = await priced.call("GET", f"/v1/usage?{query}", 400)
        assert list(refused["error"]["details"]) == [named]


async def test_days_are_days(priced: Running) -> None:
    await priced.ask(await priced.conversation())
    await priced.ask(await priced.conversation())
    database = await asyncpg.connect(priced.dsn)
    await database.execute(
        "UPDATE model_calls SET at = at - interval '1 day' WHERE id = (SELECT min(id) FROM model_calls)"
    )
    await database.close()
    days = await usage(priced, "group_by=day")
    assert [row["calls"] for row in days] == [1, 1]
    assert days[0]["day"] > days[1]["day"]
    (today,) = await usage(priced, f"group_by=day&from={days[0]['day']}T00:00:00Z")
    assert today["day"] == days[0]["day"]


async def test_helpers_tools_and_estimates_add_up(priced: Running) -> None:
    """Each reply is a line: the agent's, its helper's, one whose provider counted nothing."""
    delegate = [*calling(("delegate", '{"brief": "Part"}'))[:-1], [Usage(10, 10), Finish("tool_calls")]]
    uncounted = [[TextDelta("x" * 40)], [Finish("stop")]]
    priced.model.scripts = [delegate, uncounted, answer("All in all.")]
    run = await priced.ask(await priced.conversation(), subagents_enabled=True)
    assert (run["status"], run["usage"]["estimated"]) == ("completed", True)
    lines = await usage(priced, f"run_id={run['id']}")
    assert (lines[0]["calls"], lines[0]["estimated_calls"]) == (3, 1)
    assert lines[0]["total_tokens"] == run["usage"]["total_tokens"]
    assert lines[0]["cost_usd"] == pytest.approx(run["usage"]["cost_usd"])


async def test_what_a_deleted_conversation_cost_stays(priced: Running) -> None:
    gone = await priced.conversation(user_id="ada")
    await priced.ask(gone)
    await priced.call("DELETE", f"/v1/conversations/{gone}")
    (row,) = await usage(priced, "group_by=conversation_id,run_id,user_id,model")
    assert (row["calls"], row["cost_usd"], row["model"]) == (1, 0.0056, "stoa-extractive")
    assert not {"conversation_id", "run_id", "user_id"} & set(row)
