"""The first things that a person opens: the root and the API reference, also below a path and without a network."""

import re

from tests.conftest import Running


async def test_the_root_says_what_this_is(shared_server: Running) -> None:
    page = await shared_server.client.get("/", headers={"Accept": "text/html", "Authorization": ""})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/docs"' in page.text
    text = await shared_server.client.get("/", headers={"Authorization": ""})
    assert text.headers["content-type"].startswith("text/plain")
    assert f"{shared_server.url}/docs" in text.text
    assert (await shared_server.client.head("/")).status_code == 200


async def test_the_reference_needs_nothing_from_elsewhere(shared_server: Running) -> None:
    base = (await shared_server.call("POST", "/v1/knowledgebases", 201, json={"name": "Documented"}))["data"]["id"]
    for prefix in ("", f"/kb/{base}"):
        page = await shared_server.client.get(f"{prefix}/docs/reference", headers={"Authorization": ""})
        if prefix:
            assert (await shared_server.client.get(f"{prefix}/docs", headers={"Authorization": ""})).text == page.text
        addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page.text)
        named = [first or second for first, second in addresses]
        assert f"{prefix}/openapi.json" in named
        assert len(named) == 4
        for address in named:
            assert address.startswith("/"), "an address of somebody else's"
            answer = await shared_server.client.get(address)
            assert answer.status_code == 200, address
    script = await shared_server.client.get("/docs/swagger-ui-bundle.js")
    assert len(script.content) > 1_000_000
    assert (await shared_server.client.get("/docs/nothing.js")).status_code == 404


async def test_a_path_is_not_a_script(shared_server: Running) -> None:
    hostile = "%3C%2Fscript%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E'%22"
    page = await shared_server.client.get(f"/kb/{hostile}/docs")
    assert "alert(1)<" not in page.text
    assert "<script>alert" not in page.text
    root = await shared_server.client.get("/", headers={"Accept": "text/html", "Host": 'x"><script>alert(1)</script>'})
    assert "<script>alert" not in root.text
