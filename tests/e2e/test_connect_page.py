"""The connect page in a browser, on a phone: the token leaves the address, the user connects, axe finds nothing."""

from importlib.resources import files
from typing import Any

import pytest

from tests.conftest import Running
from tests.support.apps import deployed
from tests.support.browsers import chromium, opened

AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .map(v => [v.impact, v.id, v.nodes.map(n => n.target.join(' ')).slice(0, 3)])"""
NEEDS = (
    {
        "name": "crm",
        "type": "connection",
        "form": {"title": "Your CRM <b>", "description": "We read your customers."},
        "spec": {"type": "dynamiq.connections.Http", "fields": ["token", "account_id"]},
    },
    {"name": "notion", "type": "pipedream_account", "form": {"title": "Notion"}, "spec": {"app_slug": "notion"}},
)


async def serious(page: Any) -> list[Any]:
    await page.evaluate((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    return [one for one in await page.evaluate(AXE) if one[0] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_user_connects_on_a_phone(shared_server: Running, scheme: str) -> None:
    server, app = shared_server, await deployed(shared_server)
    for need in NEEDS:
        await server.call("POST", f"/v1/workflows/{app['workflow_id']}/requirements", 201, json=need)
    link = await server.call("POST", f"/apps/{app['id']}/v1/connect/tokens", json={"user_id": f"u-{scheme}"})
    async with chromium() as launched, opened(launched) as chrome:
        phone = {"width": 360, "height": 740}
        context = await chrome.context(color_scheme=scheme, viewport=phone, reduced_motion="reduce")
        page = await context.new_page()
        await page.goto(link["url"])
        await page.wait_for_selector("li.pending form")
        assert page.url == f"{server.url}/connect", "the token is not in the address any more"
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await page.inner_text("li.pending h2") == "Your CRM <b>", "text, and no markup"
        assert await serious(page) == []
        await page.get_by_label("token").fill("of-mine")
        await page.get_by_label("account id").fill(" ")
        await page.get_by_role("button", name="Connect").click()
        await page.wait_for_selector(".problem:not(:empty)")
        assert "account_id" in await page.inner_text(".problem")
        await page.get_by_label("account id").fill("7")
        await page.get_by_role("button", name="Connect").click()
        await page.wait_for_selector("li.completed")
        assert await page.inner_text("#said") == "Your CRM <b>: connected."
        assert await serious(page) == []
        await page.reload()
        await page.wait_for_selector("li.completed")
        assert await page.locator("input").first.input_value() == "", "what was given is not shown"
        other = await context.new_page()
        await other.goto(f"{server.url}/connect")
        await other.wait_for_selector("#said:not(:empty)")
        assert "link" in await other.inner_text("#said")
        assert await serious(other) == []
        assert (chrome.complaints, chrome.elsewhere) == ([], [])
    status = await server.call("GET", f"/apps/{app['id']}/v1/requirements/status?user_id=u-{scheme}")
    assert [one["name"] for one in status["unsatisfied"]] == ["notion"]
