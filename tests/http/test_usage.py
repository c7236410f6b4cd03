"""The bill as its readers see it: by run, conversation, key, project, model and day, and by what is left after a
deletion."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from stoa.db import Database
from stoa.gateway import Capabilities, Finish, TextDelta, Usage
from stoa.settings import Price
from stoa.usage import Summing, rules
from tests.conftest import Running, serving
from tests.support.bills import usage
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling

COUNTED = [[TextDelta("Hello.")], [Usage(1_000, 500, cached_tokens=400, reasoning_tokens=100), Finish("stop")]]
"""At the fixture's prices 600 fresh, 400 cached and 500 completion tokens are 1,200 + 400 + 4,000 millionths of a
dollar."""


@pytest.fixture
async def priced(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([list(COUNTED)], Capabilities(images=False, tools=True, context_tokens=8_000))
    prices = (Price(model="stoa-*", prompt=2, completion=8, cached=1),)
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(ScriptedTool("look")), prices=prices) as server:
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
        "finish_reason": "stop",
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
    """Each reply is a line: the agent's, its subagent's, one whose provider counted nothing."""
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


LINES = """
INSERT INTO model_calls (org_id, project_id, key_id, user_id, model, prompt_tokens, completion_tokens, cached_tokens,
    reasoning_tokens, estimated,
                         cost_usd, kind, at)
SELECT $1, CASE n % 3 WHEN 0 THEN $2::uuid ELSE $3::uuid END, CASE n % 4 WHEN 0 THEN NULL ELSE $2::uuid END,
       'u' || n % 5, 'm' || n % 3, n, n * 2, n / 2, 1,
       n % 7 = 0, CASE WHEN n % 6 = 0 THEN NULL ELSE n * 0.000001 END,
       CASE n % 9 WHEN 0 THEN 'ocr' ELSE 'run' END, now() - n * interval '17 minutes'
FROM generate_series(1, 500) n"""


async def test_sums_say_what_the_lines_say(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six days of lines, in sums of days and hours and at their edges line by line; also after lines were entered late,
    changed and removed."""
    connection = await asyncpg.connect(running.dsn)
    org_id = await connection.fetchval("SELECT id FROM orgs")
    project_id = await connection.fetchval("SELECT id FROM projects")
    other = (await running.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    await connection.execute(LINES, org_id, project_id, other)
    moments = [
        str(row[0])
        for row in await connection.fetch(
            "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM model_calls ORDER BY at"
        )
    ]
    queries = [
        f"from={moments[first]}&to={moments[last]}&group_by={groups}{which}&page_size=500"
        for first, last in ((0, -1), (3, -90), (40, 200), (100, 101), (60, 64))
        for groups, which in (
            ("day", ""),
            ("day,model,kind", f"&project_id={other}"),
            ("key_id,project_id", "&kind=run"),
            ("model", f"&key_id={project_id}"),
            ("day,key_id", ""),
            ("kind", "&model=m1"),
        )
    ]
    database = await Database.open(running.dsn, connections_max=2)
    summing = Summing(database)

    async def told() -> list[Any]:
        return [await usage(running, query) for query in queries]

    async def true() -> list[Any]:
        with monkeypatch.context() as lines:
            lines.setattr("stoa.usage.rules.summed", lambda *_: False)
            return await told()

    assert await told() == await true()
    assert await connection.fetchval("SELECT count(*) FROM usage_sums") == 0
    await summing.catch_up()
    assert await connection.fetchval("SELECT until = totals_until FROM usage_progress")
    assert await connection.fetchval("SELECT count(*) FROM usage_totals WHERE NOT keyed AND width = 'hour'") > 100
    hours = await connection.fetchval("SELECT count(*) FROM usage_sums WHERE width = 'hour'")
    assert hours > 100
    assert await told() == await true()
    await summing.catch_up()
    assert await connection.fetchval("SELECT count(*) FROM usage_sums WHERE width = 'hour'") == hours
    await connection.execute(LINES, org_id, other, project_id)
    await connection.execute("UPDATE model_calls SET cost_usd = 1, model = 'm9' WHERE id % 5 = 0")
    await connection.execute("UPDATE model_calls SET at = at - interval '1 day' WHERE id % 11 = 0")
    await connection.execute(
        "DELETE FROM model_calls WHERE id % 13 = 0 OR at::date = (SELECT min(at)::date + 2 FROM model_calls)"
    )
    assert await told() == await true()
    assert any(row["calls"] for rows in await told() for row in rows)
    await database.close()
    await connection.close()


async def test_sums_stop_before_a_transaction_that_may_still_enter_a_line(running: Running) -> None:
    connection = await asyncpg.connect(running.dsn)
    database = await Database.open(running.dsn, connections_max=2)
    org_id = await connection.fetchval("SELECT id FROM orgs")
    project_id = await connection.fetchval("SELECT id FROM projects")
    await connection.execute(LINES, org_id, project_id, project_id)
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM usage_progress FOR UPDATE")
        await Summing(database).catch_up()  # Another node is at it.
    assert (await connection.fetchval("SELECT until FROM usage_progress")).year == 1970
    await Summing(database).catch_up()
    until, now = await connection.fetchrow("SELECT until, now() FROM usage_progress")
    assert until <= now
    assert (until.minute, until.second) == (0, 0)
    await database.close()
    await connection.close()


@pytest.mark.parametrize("seed", range(50))
def test_spans_cover_every_moment_once(seed: int) -> None:
    random = Random(seed)
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(10**6))
    end = start + timedelta(seconds=random.choice((1, 3_000, 90_000, 10**6, 10**7)))
    until = rules.full_hour(start + timedelta(seconds=random.randrange(-(10**5), 10**7)))
    found = sorted(rules.spans(start, end, until), key=lambda span: span.start)
    assert (found[0].start, found[-1].end) == (start, end)
    assert all(one.end == two.start for one, two in pairwise(found))
    for span in found:
        if span.width != "line":
            seconds = {"hour": 3_600, "day": 86_400}[span.width]
            assert span.start.timestamp() % seconds == span.end.timestamp() % seconds == 0
            assert span.end <= until
    lines = sum((span.end - span.start for span in found if span.width == "line"), timedelta())
    assert lines <= max(timedelta(hours=2), end - max(start, until) + timedelta(hours=2))
