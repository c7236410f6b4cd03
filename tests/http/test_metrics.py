"""`GET /metrics`: the numbers are true, their series are bounded whatever clients send, and they are the operator's."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from stoa.db import Database
from stoa.db.polls import ANSWER_SECONDS_MAX, Poll, Polls
from stoa.gateway import ModelError
from stoa.kernel.metrics import SERIES_MAX, Counter, Histogram
from tests.conftest import Running, serving, shared
from tests.support.databases import Databases
from tests.support.doubles import FixedClock, ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.running import NO_AUTHORITIES

TOKEN = "a token of sixteen letters at least"
MESSAGES = "/v3/conversations/{conversation_id}/messages"


async def scrape(server: Running) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample, by its name and its labels."""
    response = await server.client.get("/metrics")
    assert response.status_code == 200, response.text
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(samples: Mapping[str, Mapping[tuple[tuple[str, str], ...], float]], name: str, **labels: str) -> float:
    return samples.get(name, {}).get(tuple(sorted(labels.items())), 0)


async def test_a_run_counts_once(running: Running) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[gate, *answer("Hello", " there.")]]
    conversation = await running.conversation()
    before = await scrape(running)
    asked = {"host": "api", "method": "POST", "route": MESSAGES, "status": "200"}
    async with running.client.stream(
        "POST", f"/v3/conversations/{conversation}/messages", json={"content": "Hi"}
    ) as stream:
        assert stream.status_code == 200
        during = await scrape(running)
        assert value(during, "stoa_http_streams_open") == 1
        assert value(during, "stoa_http_requests_total", **asked) == 0  # At its end.
        gate.set()
        async for _ in stream.aiter_lines():
            pass
    after = await scrape(running)

    def rise(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert rise("stoa_http_requests_total", **asked) == 1
    assert rise("stoa_http_request_seconds_count", host="api", method="POST", route=MESSAGES) == 1
    assert value(after, "stoa_http_streams_open") == 0
    assert value(after, "stoa_http_requests_open") == 1  # This one.
    assert rise("stoa_runs_begun_total", first="carried") == 1
    assert rise("stoa_runs_ended_total", status="completed", code="") == 1
    assert rise("stoa_run_seconds_count", status="completed") == 1
    assert rise("stoa_run_first_delta_seconds_count", model="stoa-extractive") == 1
    assert rise("stoa_model_calls_total", model="stoa-extractive") == 1
    assert rise("stoa_model_tokens_total", model="stoa-extractive", kind="prompt") == 12
    assert rise("stoa_model_tokens_total", model="stoa-extractive", kind="completion") == 2
    runs = (await running.call("GET", "/v1/runs"))["data"]
    assert rise("stoa_journal_events_total") == len(await running.events(runs[0]["id"]))
    assert value(after, "stoa_runs_carried") == 0
    assert value(after, "stoa_database_up") == 1


async def test_ended_runs_and_waiting_work_are_counted(dsn: str, tmp_path: Path) -> None:
    gate = asyncio.Event()
    model = ScriptedModel(
        [
            [ModelError("model_overloaded", "Too much.", retryable=False)],
            calling(("look", "{}")),
            answer("Done."),
            [gate, *answer("Late.")],
        ]
    )
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(ScriptedTool("look"))) as server:
        failing = await server.conversation()
        assert (await server.ask(failing))["status"] == "failed"
        agent = await server.conversation(agent={"tools": ["look"]})
        await server.ask(agent)
        busy = await server.conversation()
        path = f"/v3/conversations/{busy}/messages"
        first = (await server.call("POST", path, 202, json={"content": "Hi", "background": True}))["data"]["id"]
        second = (
            await server.call("POST", path, 202, json={"content": "And?", "background": True, "on_busy": "queue"})
        )["data"]["id"]
        samples = await scrape(server)
        assert value(samples, "stoa_runs_ended_total", status="failed", code="model_overloaded") == 1
        assert value(samples, "stoa_tool_calls_total", kind="python", status="completed") == 1
        assert value(samples, "stoa_runs_carried") == 1
        assert value(samples, "stoa_runs_waiting", state="queued") == 1
        assert value(samples, "stoa_runs_begun_total", first="queued") == 1
        await server.call("POST", f"/v1/runs/{second}/cancel")
        await server.call("POST", f"/v1/runs/{first}/cancel")
        assert value(await scrape(server), "stoa_runs_ended_total", status="canceled", code="") == 2


async def test_a_search_and_what_is_indexed(shared_server: Running) -> None:
    server = shared_server
    project = (await server.call("GET", "/v1/projects"))["data"][0]["id"]
    base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Library", "project_id": project}))[
        "data"
    ]["id"]
    await server.call(
        "POST", f"/v1/knowledgebases/{base}/upload", 201, files={"files": ("plan.txt", b"The plan is to count.")}
    )
    async with asyncio.timeout(30):
        while not value(await scrape(server), "stoa_items_ended_total", status="processed", code=""):
            await asyncio.sleep(0.05)
    before = await scrape(server)
    assert value(before, "stoa_chunks_indexed_total") == 1
    assert value(before, "stoa_item_seconds_count") == 1
    await server.call("POST", f"/v1/knowledgebases/{base}/vector-search", json={"query": "plan", "alpha": 0})
    after = await scrape(server)
    assert (
        value(after, "stoa_search_seconds_count", mode="keyword")
        - value(before, "stoa_search_seconds_count", mode="keyword")
        == 1
    )
    for stage in ("open", "keyword", "load"):
        assert (
            value(after, "stoa_search_stage_seconds_count", stage=stage)
            - value(before, "stoa_search_stage_seconds_count", stage=stage)
            == 1
        )


async def test_what_clients_send_makes_no_series(shared_server: Running) -> None:
    server = shared_server
    conversation = await server.conversation(title="Secret title")
    tool = {"name": "secret-tool", "type": "http", "description": "d", "config": {"url": "https://example.com/"}}
    await server.call("POST", "/v1/tools", 201, json=tool)
    await server.client.get(f"/v1/conversations/{conversation}")
    await scrape(server)
    odd = [("GET", "/", {}), ("POST", f"/v3/conversations/{conversation}/messages", {})]
    for turn in range(60):
        odd += [
            ("GET", f"/secret/{uuid4()}", {}),
            ("GET", f"/v1/runs/{uuid4()}", {}),
            ("POST", f"/v3/conversations/{uuid4()}/messages", {}),
            ("GET", "/health", {"Host": f"secret{turn}.example.com"}),
            ("GET", "/health", {"Host": f"{uuid4()}.apps.localhost"}),
            ("GET", f"/v1/items/{uuid4()}", {"Host": f"secret{turn}.kb.localhost"}),
            ("GET", f"/kb/{uuid4()}/health", {}),
            ("GET", f"/v1/vector_stores/secret{turn}/search", {}),
            ("PROPFIND", f"/{turn}", {}),
            ("OPTIONS", "/v1/conversations", {"Origin": f"http://secret{turn}.example"}),
        ]
    for method, path, headers in odd:
        await server.client.request(method, path, headers=headers, json={"content": " "} if method == "POST" else None)
    samples = await scrape(server)
    requests = [dict(labels) for labels in samples["stoa_http_requests_total"]]
    routes = {(one["host"], one["route"]) for one in requests}
    assert {
        ("api", "none"),
        ("api", MESSAGES),
        ("api", "/v1/runs/{run_id}"),
        ("app", "/health"),
        ("kb", "/v1/items/{item_id}"),
    } <= routes
    assert len(routes) <= 20
    assert {one["method"] for one in requests} <= {"GET", "POST", "OPTIONS", "other"}
    text = (await server.client.get("/metrics")).text
    assert "secret" not in text.lower()
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text)


def test_a_measure_is_bounded_whatever_is_counted() -> None:
    counted, lengths = Counter("c", "C.", ("what",)), Histogram("h", "H.", (1.0, 2.0), ("what",))
    for number in range(SERIES_MAX + 50):
        counted.add(str(number))
        lengths.observe(1.5, str(number))
    assert len(counted.values) == len(lengths.values) == SERIES_MAX + 1
    assert counted.values["other",] == 50
    assert lengths.values["other",] == [0, 50, 0, 75.0]


def test_a_bound_belongs_to_its_bucket() -> None:
    lengths = Histogram("h", "H.", (1.0, 2.0))
    for length in (0.5, 1.0, 1.5, 2.0, 2.5):
        lengths.observe(length)
    assert lengths.values[()] == [2, 2, 1, 7.5]


async def test_both_forms(shared_server: Running) -> None:
    plain = await shared_server.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    new = await shared_server.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert new.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics(new.text)}
    assert {"stoa_runs_ended", "process_cpu_seconds", "python_gc_collections", "stoa_build"} <= families.keys()
    assert families["stoa_http_request_seconds"].type == "histogram"


ServerOf = Callable[..., Awaitable[Running]]


@pytest.fixture(scope="module")
async def server_of(cluster: Databases, room: Path) -> AsyncIterator[ServerOf]:
    """A server with these settings, one for all cases that have them."""
    made: dict[str, Running] = {}
    async with contextlib.AsyncExitStack() as stack:

        async def server(**settings: Any) -> Running:
            name = repr(settings)
            if name not in made:
                made[name] = await stack.enter_async_context(shared(cluster, room, **settings))
            return made[name]

        yield server


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {}, 200),
        ({}, {"X-Forwarded-For": "203.0.113.9"}, 401),  # A proxy on this machine has passed it on.
        ({}, {"Origin": "https://evil.example"}, 401),  # A page in the operator's browser asks.
        ({}, {"Sec-Fetch-Site": "same-origin"}, 401),
        ({}, {"Host": "stoa.example"}, 401),  # A name that was made to resolve to this machine, or a silent proxy's.
        ({}, {"Host": "localhost:8080"}, 200),
        ({}, {"Host": "[::1]:8080"}, 200),
        ({}, {"Host": "127.0.0.1.evil.example"}, 401),
        ({"host": "0.0.0.0"}, {}, 401),
        ({"host": "0.0.0.0", "metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.9"}, 200),
        ({"metrics_token": TOKEN}, {}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": "Bearer \xe9"}, 401),
    ],
)
async def test_who_may_read(
    server_of: ServerOf, settings: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    """The server's own key, which `running.client` would send, opens nothing either."""
    server = await server_of(**settings)
    if settings.get("metrics_token"):
        assert (await server.client.get("/metrics")).status_code == 401
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url) as client:
        raw = {name: text.encode("latin-1") for name, text in headers.items()}
        response = await client.get("/metrics", headers=raw)
        assert response.status_code == status, response.text
        if status == 401:
            assert "STOA_METRICS_TOKEN" in response.json()["error"]["message"]
        assert (await client.get("/metrics", headers={**raw, "Host": f"{uuid4()}.kb.localhost"})).status_code == 404


async def test_a_scrape_works_while_the_database_is_away(dsn: str) -> None:
    clock = FixedClock()
    database = await Database.open(dsn, connections_max=2)
    polls = Polls(database, [Poll("stoa_ones", "Ones.", "SELECT 'a', count(*) FROM (SELECT 1) one", ("which",))], clock)
    await polls.refresh()
    up, ones = polls.metrics()
    assert (up.read(), ones.read()) == (1.0, {("a",): 1})  # type: ignore[union-attr]
    await database.close()
    await polls.refresh()
    assert up.read() == 1.0  # type: ignore[union-attr] — asked a moment ago
    clock.elapsed += 1
    await polls.refresh()
    assert (up.read(), ones.read()) == (0.0, {})  # type: ignore[union-attr]
    await polls.stop()


async def test_a_scrape_does_not_wait_for_a_database_that_is_frozen(dsn: str) -> None:
    database = await Database.open(dsn, connections_max=2)
    polls = Polls(database, [Poll("stoa_slow", "Slow.", "SELECT count(pg_sleep(20))")], FixedClock())
    begun = perf_counter()
    await asyncio.gather(polls.refresh(), polls.refresh())
    assert ANSWER_SECONDS_MAX - 0.5 < perf_counter() - begun < ANSWER_SECONDS_MAX + 2
    up, slow = polls.metrics()
    assert (up.read(), slow.read()) == (False, {})  # type: ignore[union-attr]
    await polls.stop()
    await database.close()
