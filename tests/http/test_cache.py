"""Answers that a request asks to be kept: found by the whole request, in the project, and gone with their key."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from stoa.gateway.router import caching
from stoa.gateway.router.caching import CacheOrder, order_of
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal
from stoa.settings import Price, Provider
from tests.conftest import Running, serving
from tests.support.bills import key_of, usage
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.scripted_model import ScriptedServer

MODEL = "main/scripted"
HELLO: Any = [{"role": "user", "content": "Hello"}]
CACHE = {"Stoa-Cache": "true"}
PLAIN = Principal(UUID(int=1), None, UUID(int=2))


def whole(content: str = "Hi.", finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    answer = {
        "id": "c",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        **more,
    }
    return {"raw": [json.dumps(answer).encode()], "content_type": "application/json"}


@pytest.fixture(scope="module")
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture
def provider(scripted: ScriptedServer) -> ScriptedServer:
    scripted.forget()
    scripted.script = lambda _: whole()
    return scripted


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, scripted: ScriptedServer) -> AsyncIterator[Running]:
    name = f"cache_{uuid4().hex}"
    main = Provider(name="main", type="openai", base_url=scripted.url, api_key=SecretStr("k"))
    prices = (Price(model="main/*", prompt=1, completion=2),)
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel(), providers=(main,), prices=prices
    ) as made:
        yield made


async def ask(
    server: Running, client: httpx.AsyncClient | None = None, headers: Any = CACHE, **fields: Any
) -> httpx.Response:
    body = {"model": MODEL, "messages": HELLO, "seed": 1, **fields}
    return await (client or server.client).post("/router/v1/chat/completions", json=body, headers=headers)


async def execute(server: Running, statement: str, *values: Any) -> Any:
    database = await asyncpg.connect(server.dsn)
    try:
        return await database.fetchval(statement, *values)
    finally:
        await database.close()


def states(*answers: httpx.Response) -> list[str | None]:
    return [answered.headers.get("x-stoa-cache") for answered in answers]


async def test_the_same_request_is_paid_for_once(server: Running, provider: ScriptedServer) -> None:
    who = f"user-{uuid4().hex}"
    first, again = [await ask(server, user=who) for _ in range(2)]
    assert states(first, again) == ["miss", "hit"]
    assert first.content == again.content
    assert (again.headers["x-stoa-model"], again.headers["x-stoa-cost-usd"]) == (MODEL, "0.000000000")
    assert int(again.headers["age"]) < 60
    assert len(provider.bodies) == 1
    rows = await usage(server, f"user_id={who}&group_by=kind")
    assert {row["kind"]: (row["calls"], row["cost_usd"], row["prompt_tokens"]) for row in rows} == {
        "gateway": (1, 0.00002, 10),
        "cache": (1, 0, 10),
    }


async def test_the_cache_is_used_on_request_only(server: Running, provider: ScriptedServer) -> None:
    first = await ask(server, user="asked")
    plain = await ask(server, headers={}, user="asked")
    assert states(first, plain) == ["miss", None]
    assert len(provider.bodies) == 2
    assert await ask(server, user="never", headers={}) is not None
    assert states(await ask(server, user="never")) == ["miss"]  # What was not asked to be kept was not.


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"messages": [{"role": "user", "content": "hello"}]}, {"temperature": 0}, {"user": "other"}]
)
async def test_another_request_is_another(server: Running, provider: ScriptedServer, change: Any) -> None:
    await ask(server, user="exact")
    assert states(await ask(server, **{"user": "exact", **change, "top_p": 0.5})) == ["miss"]


async def test_the_order_of_fields_does_not_matter(server: Running, provider: ScriptedServer) -> None:
    await ask(server, a=1, b=2)
    assert states(await ask(server, b=2, a=1)) == ["hit"]


async def test_the_caller_sets_the_maximum_age(server: Running, provider: ScriptedServer) -> None:
    await ask(server, user="old")
    await execute(server, "UPDATE cached_answers SET created_at = now() - interval '2 minutes'")
    assert states(await ask(server, user="old", headers={"Stoa-Cache": "max-age=60"})) == ["miss"]
    assert states(await ask(server, user="old", headers={"Stoa-Cache": "max-age=60"})) == ["hit"]


@pytest.mark.parametrize(
    "script",
    [
        {"status": 400},
        {"cut": 2},
        whole(finish=None),
        whole(finish="content_filter"),
        whole("x" * (caching.ENTRY_BYTES_MAX + 1)),
    ],
)
async def test_incomplete_answers_are_not_cached(server: Running, provider: ScriptedServer, script: Any) -> None:
    provider.script = lambda _: script
    who = uuid4().hex
    await ask(server, user=who)
    await ask(server, user=who)
    assert len(provider.bodies) == 2


async def test_requests_with_tools_are_cached_on_request_only(server: Running, provider: ScriptedServer) -> None:
    tools = [{"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {}}}}]
    assert states(*[await ask(server, tools=tools) for _ in range(2)]) == ["bypass", "bypass"]
    wanted = {"Stoa-Cache": "max-age=60, tools"}
    assert states(*[await ask(server, tools=tools, headers=wanted) for _ in range(2)]) == ["miss", "hit"]


async def test_a_stream_is_never_kept(server: Running, provider: ScriptedServer) -> None:
    provider.script = lambda _: {}
    assert states(*[await ask(server, stream=True) for _ in range(2)]) == ["bypass", "bypass"]
    assert len(provider.bodies) == 2


async def test_embeddings(server: Running, provider: ScriptedServer) -> None:
    body = {"model": "stoa-embeddings", "input": "a pelican"}
    answers = [await server.client.post("/router/v1/embeddings", json=body, headers=CACHE) for _ in range(2)]
    assert states(*answers) == ["miss", "hit"]
    assert answers[0].json() == answers[1].json()


async def test_projects_do_not_share(server: Running, provider: ScriptedServer) -> None:
    project = (await server.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    _, theirs = await key_of(server, project_id=project)
    async with theirs:
        assert states(await ask(server, user="shared"), await ask(server, theirs, user="shared")) == ["miss", "miss"]
        assert states(await ask(server, theirs, user="shared")) == ["hit"]


async def test_cached_answers_are_deleted_with_the_key(server: Running, provider: ScriptedServer) -> None:
    key_id, client = await key_of(server)
    count = "SELECT count(*) FROM cached_answers WHERE key_id::text = $1"
    async with client:
        await ask(server, client, user="gone")
        assert await execute(server, count, key_id) == 1
        assert states(await ask(server, user="gone")) == ["hit"]  # Another key of the project.
        await server.call("DELETE", f"/v1/access-keys/{key_id}")
    assert await execute(server, count, key_id) == 0
    assert states(await ask(server, user="gone")) == ["miss"]


async def test_an_idempotency_key_comes_first(server: Running, provider: ScriptedServer) -> None:
    headers = {**CACHE, "Idempotency-Key": uuid4().hex}
    first, again = [await ask(server, user="both", headers=headers) for _ in range(2)]
    assert states(first, again) == ["miss", "miss"]  # The same answer, headers and all.
    assert len(provider.bodies) == 1


async def test_cached_answers_of_a_project_are_limited(server: Running) -> None:
    await execute(server, "DELETE FROM cached_answers")
    database = await asyncpg.connect(server.dsn)
    org_id, key_id, project_id = await database.fetchrow(
        "SELECT k.org_id, k.id, p.id FROM access_keys k JOIN projects p ON p.org_id = k.org_id LIMIT 1"
    )
    for number in range(5):
        await database.execute(
            caching.SQL.keep, org_id, project_id, bytes([number]), key_id, MODEL, "application/json", b"{}", 3
        )
    left = await database.fetch("SELECT digest FROM cached_answers ORDER BY digest")
    assert [row["digest"] for row in left] == [bytes([number]) for number in (2, 3, 4)]
    # A key that is gone by now keeps nothing.
    await database.execute(caching.SQL.keep, org_id, project_id, b"9", uuid4(), MODEL, "application/json", b"{}", 3)
    assert await database.fetchval("SELECT count(*) FROM cached_answers WHERE digest = $1", b"9") == 0
    await database.execute("DELETE FROM cached_answers")
    await database.close()


async def test_a_model_that_is_not_there_is_refused(server: Running, provider: ScriptedServer) -> None:
    assert (await ask(server, model="none/such")).status_code == 404
    assert (await ask(server, model=7)).status_code == 422
    assert (await ask(server, headers={"Stoa-Cache": "perhaps"})).status_code == 422


def test_cache_orders_of_headers_and_keys() -> None:
    assert order_of(None, PLAIN) is None
    wishing = replace(PLAIN, cache_seconds=60)
    assert order_of(None, wishing) == CacheOrder(60)
    assert order_of("false", wishing) is None
    assert order_of("true", PLAIN) == CacheOrder()
    assert order_of(" MAX-AGE=60 , tools", PLAIN) == CacheOrder(60, tools=True)
    for bad in ("", "no", "max-age=0", "max-age=86401", "max-age=-1", "tools", "true, false"):
        with pytest.raises(BadRequest):
            order_of(bad, PLAIN)


async def test_a_keys_cache_setting_applies_without_the_header(server: Running, provider: ScriptedServer) -> None:
    key_id, client = await key_of(server, cache_seconds=600)
    async with client:
        states = [
            (await ask(server, client, headers, user="by key")).headers.get("X-Stoa-Cache")
            for headers in ({}, {}, {"Stoa-Cache": "false"})
        ]
        assert states == ["miss", "hit", None]
        changed = await server.call("PATCH", f"/v1/access-keys/{key_id}", json={"cache_seconds": None})
        assert "cache_seconds" not in changed["data"]
        assert "X-Stoa-Cache" not in (await ask(server, client, {}, user="by key")).headers


async def test_kept_answers_are_deleted_with_a_receipt(server: Running, provider: ScriptedServer) -> None:
    assert (await ask(server, user="cleared")).headers["X-Stoa-Cache"] == "miss"
    deletion_id = (await server.call("DELETE", "/v1/router/cache"))["deletion_id"]
    receipt = (await server.call("GET", f"/v1/deletions/{deletion_id}"))["data"]
    assert receipt["stores"]["cached_answers"]["rows"] >= 1
    assert receipt["stores"]["cached_answers"]["bytes"] > 0
    assert receipt["verified_at"]
    assert (await ask(server, user="cleared")).headers["X-Stoa-Cache"] == "miss"
    await server.call("DELETE", f"/v1/router/cache?project_id={uuid4()}", 404)
