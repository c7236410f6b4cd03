"""Every page, empty and full, without permission, of somebody else's things, and with nonsense in its address."""

import re

import httpx
import pytest

from tests.conftest import FIRST_KEY, Running
from tests.support.browsers import browser, sign_in
from tests.support.doubles import answer

LISTS = (
    "/",
    *(
        f"/console/{name}"
        for name in ("overview", "conversations", "knowledge", "runs", "traces", "usage", "models", "keys")
    ),
)
HOSTILE = "<script>alert(1)</script>\"'{{7*191}}"
NOBODY = "00000000-0000-7000-8000-000000000000"


async def filled(running: Running) -> dict[str, str]:
    """Pages about one thing, where everything has a hostile name."""
    running.model.scripts = [answer(f"Say {HOSTILE}", reasoning=HOSTILE)]
    talk = await running.conversation(title=HOSTILE)
    run = await running.ask(talk, HOSTILE)
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": HOSTILE}))["data"]["id"]
    files = [("files", ("<script>alert(1).txt", b"High tide is at six."))]
    await running.call("POST", f"/v1/knowledgebases/{base}/upload", 201, files=files)
    await running.call(
        "POST", "/v1/access-keys", 201, json={"name": HOSTILE, "rate_limit": 100_000, "spending_limit": 9}
    )
    gone = (await running.call("DELETE", f"/v1/conversations/{await running.conversation()}"))["deletion_id"]
    return {
        "chat": f"/console/chat/{talk}",
        "thread": f"/console/chat/{talk}/thread?page=1",
        "run": f"/console/runs/{run['id']}",
        "passages": f"/console/runs/{run['id']}/passages",
        "trace": f"/console/traces/{run['id']}",
        "traces": f"/console/traces?q={HOSTILE}&since=day&model={HOSTILE}&cost_usd_min=x&cursor={HOSTILE}",
        "two traces": f"/console/traces/compare?trace={run['id']}&trace={run['id']}",
        "no two traces": "/console/traces/compare",
        "base": f"/console/knowledge/{base}?q={HOSTILE}&mode=hybrid&mode=keyword",
        "items": f"/console/knowledge/{base}/items?status=failed",
        "deletion": f"/console/deletions/{gone}",
    }


async def read(client: httpx.AsyncClient, path: str) -> str:
    page = await client.get(path)
    assert page.status_code == 200, (path, page.text[:300])
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "<script>alert" not in page.text, path
    assert "1337" not in re.sub(r"[0-9a-f-]{36}", "", page.text), path
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", page.text), path
    assert FIRST_KEY not in page.text
    return page.text


async def test_every_page_shows_what_is_there_and_runs_nothing_of_it(running: Running) -> None:
    async with browser(running) as client:
        await sign_in(client)
        for path in LISTS:
            await read(client, path)
        one = await filled(running)
        for path in (*LISTS, *one.values()):
            await read(client, path)
        client.headers["Accept-Language"] = "de"
        for path in (*LISTS, *one.values()):
            await read(client, path)
        assert 'lang="de"' in await read(client, "/")


async def test_who_may_do_nothing_is_told_so_on_the_page(running: Running) -> None:
    made = (await running.call("POST", "/v1/access-keys", 201, json={"name": "Poor", "permissions": ["doctor:read"]}))[
        "data"
    ]
    one = await filled(running)
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


async def test_what_is_not_there_or_of_another_project_is_not_found(running: Running) -> None:
    one = await filled(running)
    project = (await running.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    made = (await running.call("POST", "/v1/access-keys", 201, json={"name": "Other", "project_id": project}))["data"]
    async with browser(running) as client:
        await sign_in(client, made["key"])
        for name, path in one.items():
            assert (await client.get(path)).status_code == 404, name
            assert (await client.get(re.sub(r"[0-9a-f-]{36}", NOBODY, path))).status_code == 404, name
        page = await client.get("/console/nothing")
        assert (page.status_code, "There is no such page." in page.text) == (404, True)


@pytest.mark.parametrize(
    "query",
    ["?page=abc", "?page=99999999999", "?page=-1", "?page=0", "?status=x", "?by=x", "?q=%00", "?q=%20", "?name=%ff"],
)
async def test_nonsense_in_an_address_is_no_bug(running: Running, query: str) -> None:
    async with browser(running) as client:
        await sign_in(client)
        for path in LISTS:
            assert (await client.get(path + query)).status_code == 200, path


async def test_nobody_sees_a_page_without_a_session(running: Running) -> None:
    one = await filled(running)
    async with browser(running) as client:
        for path in (*LISTS, *one.values()):
            assert 'id="sign-in"' in (await client.get(path)).text
        client.cookies.set("stoa-session", "stoa_web_" + "x" * 64)
        for path in (*LISTS, *one.values()):
            page = await client.get(path)
            assert (page.status_code, 'id="sign-in"' in page.text) == (401, True), path


async def test_assets_are_kept_for_good_and_come_compressed(running: Running) -> None:
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


async def test_the_calls_of_a_page_are_shown_without_the_key(running: Running) -> None:
    async with browser(running) as client:
        await sign_in(client)
        text = await read(client, "/console/conversations")
        assert "$STOA_KEY" in text
        assert f"curl &#39;{running.url}/v1/conversations?" in text or f"{running.url}/v1/conversations?" in text
        assert "stoa_web_" not in text
