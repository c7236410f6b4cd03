"""Every page, empty and full, without permission, of somebody else's things, and with nonsense in its address."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from stoa.console import pages
from tests.conftest import FIRST_KEY, Running, serving
from tests.support import console_pages, syncs
from tests.support.browsers import browser, sign_in
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel

HOSTILE = "<script>alert(1)</script>\"'{{7*1763668414462081}}"
LISTS = (
    *(path for _, path, _ in pages.NAVIGATION),
    f"/console/traces?q={HOSTILE}&model={HOSTILE}&since=day&cost_usd_min=x",
    "/console/traces/compare",
    f"/console/search?q={HOSTILE}",
    "/console/search?q=a",
)
NOBODY = "00000000-0000-7000-8000-000000000000"
OF_ANYBODY = {"chat with an app"}
"""Pages that are there without what their address names: the chat, with a model instead."""


@pytest.fixture(scope="module")
async def full(cluster: Databases, room: Path) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A server where everything has a hostile name, and a page about each thing."""
    name = f"pages_{uuid4().hex}"
    documents = room / name / "documents"
    syncs.fill(documents)
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel(), source_directories=[documents]
    ) as running:
        yield running, await console_pages.fill(running, documents, HOSTILE)


async def read(client: httpx.AsyncClient, path: str) -> str:
    page = await client.get(path)
    assert page.status_code == 200, (path, page.text[:300])
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "<script>alert" not in page.text, path
    assert "12345678901234567" not in page.text, path
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", page.text), path
    assert FIRST_KEY not in page.text
    return page.text


async def test_every_list_says_what_it_is_for_while_it_is_empty(running: Running) -> None:
    async with browser(running) as client:
        await sign_in(client)
        for path in LISTS:
            await read(client, path)


async def test_every_page_shows_what_is_there_and_runs_nothing_of_it(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    async with browser(running) as client:
        await sign_in(client)
        for path in (*LISTS, *one.values()):
            await read(client, path)
        client.headers["Accept-Language"] = "de"
        for path in (*LISTS, *one.values()):
            await read(client, path)
        assert 'lang="de"' in await read(client, "/")


async def test_who_may_do_nothing_is_told_so_on_the_page(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    made = (await running.call("POST", "/v1/access-keys", 201, json={"name": "Poor", "permissions": ["doctor:read"]}))[
        "data"
    ]
    async with browser(running) as client:
        await sign_in(client, made["key"])
        for path in LISTS:
            text = await read(client, path)
            assert "lacks the permission" in text, path
            assert "Nothing is wrong" not in text, path
        for path in one.values():
            page = await client.get(path)
            assert page.status_code in (200, 403), path
            assert "lacks the permission" in page.text, path


async def test_the_doctor_is_asked_once_the_overview_stands(full: tuple[Running, dict[str, str]]) -> None:
    running, _ = full
    made = await running.call("POST", "/v1/access-keys", 201, json={"name": "No doctor", "permissions": ["runs:read"]})
    async with browser(running) as client:
        await sign_in(client)
        assert 'data-from="/console/overview/doctor"' in await read(client, "/console/overview")
        assert "none broken" in await read(client, "/console/overview/doctor")
        await sign_in(client, made["data"]["key"])
        assert "it lacks the permission doctor:read" in await read(client, "/console/overview/doctor")


async def test_a_refusal_keeps_the_menu_and_names_its_request(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    made = await running.call("POST", "/v1/access-keys", 201, json={"name": "Poor", "permissions": ["doctor:read"]})
    async with browser(running) as client:
        await sign_in(client, made["data"]["key"])
        page = await client.get(one["base"])
        assert page.status_code == 403
        assert page.headers["x-request-id"] in page.text
        assert 'action="/console/sign-out"' in page.text
        assert 'href="/console/knowledge"' in page.text


async def test_what_is_not_there_or_of_another_project_is_not_found(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    project = (await running.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    made = (await running.call("POST", "/v1/access-keys", 201, json={"name": "Other", "project_id": project}))["data"]
    async with browser(running) as client:
        await sign_in(client, made["key"])
        for name, path in one.items():
            if name in OF_ANYBODY:
                continue
            assert (await client.get(path)).status_code == 404, name
            assert (await client.get(re.sub(r"[0-9a-f-]{36}", NOBODY, path))).status_code == 404, name
        page = await client.get("/console/nothing")
        assert (page.status_code, "There is no such page." in page.text) == (404, True)


@pytest.mark.parametrize(
    "query",
    [
        "page=abc&status=x&by=x&q=%00&name=%00&project=x&app=x&version=x&from=x&user=%00&since=x&cursor=x",
        "page=99999999999&q=%20&name=%ff&until=2026-13-45&deployment=&user=%20",
    ],
)
async def test_nonsense_in_an_address_is_no_bug(full: tuple[Running, dict[str, str]], query: str) -> None:
    running, one = full
    async with browser(running) as client:
        await sign_in(client)
        for path in (*LISTS, *(path.partition("?")[0] for path in one.values())):
            assert (await client.get(f"{path}?{query}")).status_code in (200, 400, 404), path
        for path in LISTS:
            assert (await client.get(f"{path}?page=0")).status_code == 200, path


async def test_nobody_sees_a_page_without_a_session(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    async with browser(running) as client:
        for path in (*LISTS, *one.values()):
            assert 'id="sign-in"' in (await client.get(path)).text
        client.cookies.set("stoa-session", "stoa_web_" + "x" * 64)
        for path in (*LISTS, *one.values()):
            page = await client.get(path)
            assert (page.status_code, 'id="sign-in"' in page.text) == (401, True), path


async def test_assets_are_kept_for_good_and_come_compressed(full: tuple[Running, dict[str, str]]) -> None:
    running, _ = full
    async with browser(running) as client:
        found = set(re.findall(r'/console/assets/[^"]+', (await client.get("/")).text))
        assert found
        for address in found:
            sent = await client.get(address)
            assert sent.status_code == 200
            assert "immutable" in sent.headers["cache-control"]
            assert sent.headers["content-encoding"] == "gzip"
        assert (await client.get("/console/assets/x/../../pages.py")).status_code == 404
        assert (await client.get("/console/assets/x/nothing.js")).status_code == 404


async def test_the_run_of_an_app_is_drawn_on_its_graph(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    app = one["app"].rpartition("/")[2]
    runs = (await running.call("GET", "/v1/runs"))["data"]
    run = next(one["id"] for one in runs if one.get("app_id") == app)
    async with browser(running) as client:
        await sign_in(client)
        states = dict(
            re.findall(r'class="g-node g-\w+ is-(\w+)" data-node="(\w+)"', await read(client, f"/console/runs/{run}"))
        )
    assert states, "each node that the run came to has its state"


async def test_what_is_pasted_out_of_a_log_is_found(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    async with browser(running) as client:
        await sign_in(client)
        for name in ("run", "chat", "app", "workflow", "source", "project", "deletion"):
            found = await client.get(f"/console/search?q={one[name].rpartition('/')[2]}")
            assert (found.status_code, found.headers.get("location")) == (303, one[name]), name
        found = await read(client, "/console/search?q=travel")
        assert one["app"] in found
        assert one["workflow"] in found
        assert "Nothing found" in await read(client, f"/console/search?q={NOBODY}")


async def test_the_calls_of_a_page_are_shown_without_the_key(full: tuple[Running, dict[str, str]]) -> None:
    running, _ = full
    async with browser(running) as client:
        await sign_in(client)
        text = await read(client, "/console/conversations")
        assert "$STOA_KEY" in text
        assert f"curl &#39;{running.url}/v1/conversations?" in text or f"{running.url}/v1/conversations?" in text
        assert "stoa_web_" not in text


async def test_questions_are_evaluated_on_the_page(full: tuple[Running, dict[str, str]]) -> None:
    running, one = full
    async with browser(running) as client:
        await sign_in(client)
        where = one["evaluate"]
        sent = await client.post(where, data={"golden": "What may a hotel cost? | hotels.md", "mode": "keyword"})
        assert sent.status_code == 200
        assert "nDCG@10" in sent.text
        for golden, wanted in (
            ("nonsense", "Line 1"),
            ("", "at least one"),
            ("a | nothing-of-this-name", "nothing-of"),
        ):
            assert wanted in (await client.post(where, data={"golden": golden})).text
        elsewhere = await client.post(where, data={"golden": "a | b"}, headers={"Origin": "https://example.com"})
        assert elsewhere.status_code == 403
        large = await client.post(where, data={"golden": "x" * 2_000_000})
        assert large.status_code == 413
