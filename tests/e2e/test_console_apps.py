"""Apps, triggers, tools and sources in a real browser, from their making to their end. One server for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Error

from tests.conftest import Running, serving
from tests.support import console_pages, syncs
from tests.support.browsers import Chromium, opened, signed_in
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.services import Service

DOCUMENT = """
openapi: 3.1.0
servers: [{url: SERVICE}]
paths:
  /echo/pets/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: pet, summary: One pet.}
  /echo/ping:
    post: {operationId: ping, summary: Says hello.}
"""


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"console_apps_{uuid4().hex}"
    documents = room / name / "documents"
    syncs.fill(documents)
    model = ScriptedModel([answer("Take the train.")])
    async with serving(
        await cluster.copy(name), room / name, model, source_directories=[documents], allow_private_addresses=True
    ) as running:
        yield running


@pytest.fixture
async def page(server: Running, launched: Any) -> AsyncIterator[Any]:
    """A page of somebody who is signed in; nothing that it loads may complain, or ask elsewhere."""
    async with opened(launched) as chrome:
        yield await signed_in(await chrome.context(), server.url)
        _content(chrome)


def _content(chrome: Chromium) -> None:
    assert chrome.complaints == []
    assert chrome.elsewhere == []


async def holds(page: Any, expression: str) -> None:
    """Returns once the expression is true in the page. Playwright's own wait needs `eval`, which the page forbids."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Error):  # The page goes elsewhere at this moment.
                if await page.evaluate(f"() => {expression}"):
                    return
            await asyncio.sleep(0.02)


async def test_a_workflow_becomes_an_app_that_is_tried_changed_and_rolled_back(server: Running, page: Any) -> None:
    await page.goto(f"{server.url}/console/apps")
    await page.click(".empty [data-open=new-workflow]")
    await page.fill("#workflow-name", "travel")
    await page.fill("#workflow-flow", "{broken")
    await page.click("#new-workflow .primary")
    assert "JSON" in await page.inner_text("#new-workflow .problem")
    assert await page.evaluate("document.activeElement.id") == "workflow-flow"
    flow = console_pages.graph()
    await page.evaluate("flow => { document.querySelector('#workflow-flow').value = JSON.stringify(flow); }", flow)
    await page.click("#new-workflow .primary")
    await page.wait_for_url("**/console/workflows/*")
    assert await page.locator(".graph .g-node").count() == 5

    await page.fill("#try-input", '{"topic": "trains", "words": 3}')
    await page.click("#try .primary")
    await page.wait_for_selector(".try-line .good")
    assert "Take the train." in await page.inner_text(".try-text")
    assert await page.locator(".graph [data-node=brief].is-completed").count() == 1
    assert await page.locator(".graph [data-node=essay].is-skipped").count() == 1

    for number, name in ((1, "first"), (2, "second")):
        await page.click("[data-open=release]")
        await page.fill("#release-name", name)
        await page.click("#release .primary")
        await page.wait_for_selector(f"h1 + p:has-text('{name}')")
        await page.click(".head >> text=Show what is saved")
        await page.wait_for_selector(f"text=Release version {number + 1}")
        changed = console_pages.graph(brief="Speak of {{topic}}.")
        await page.click("[data-open=edit]")
        await page.evaluate("flow => { document.querySelector('#edit-flow').value = JSON.stringify(flow); }", changed)
        await page.click("#edit .primary")
        await page.wait_for_selector("#edit", state="hidden")

    await page.goto(f"{server.url}/console/apps")
    await page.click(".empty [data-open=new-app]")
    await page.fill("#app-name", "Travel")
    await page.click("#new-app .primary")
    await page.wait_for_url(lambda url: "/console/apps/" in url)
    where = page.url
    await page.goto(f"{where}/deployments")
    await page.select_option("#version", label="1 · first")
    await page.click("form.inline .primary")
    await page.wait_for_selector("tr:has-text('1 · first') .pill")
    await page.click("tr:has-text('2 · second') >> text=Go back to it")
    await page.wait_for_selector(".minus b")
    await page.click("text=Roll back to version 2")
    await page.wait_for_url("**/deployments")
    assert "2 · second" in await page.inner_text("tr:has(.pill)")

    await page.goto(where)
    await page.click(".head >> text=Talk to it")
    await page.wait_for_selector("h2:has-text('Travel')")
    await page.fill("#say", "trains")
    await page.press("#say", "Enter")
    await page.wait_for_url("**/console/chat/*")
    await page.wait_for_selector(".answer-foot .notice, .verified .good")

    await page.goto(where)
    await page.click("[data-ask=delete-app]")
    assert await page.locator("#delete-app .danger").is_disabled()
    await page.fill("#delete-app-word", "Travel")
    await page.press("#delete-app-word", "Enter")
    await page.wait_for_url("**/console/apps")


async def test_triggers_from_draft_to_a_webhook(server: Running, page: Any) -> None:
    app = await console_pages.app(server)
    await page.goto(f"{server.url}/console/apps/{app}/triggers")
    await page.click(".empty [data-open=new-trigger]")
    await page.fill("#trigger-name", "weekly")
    await page.fill("#trigger-cron", "61 9 * * 1")
    await page.click("#new-trigger .primary")
    await holds(page, "document.querySelector('#new-trigger .problem').textContent.includes('config.schedule')")
    assert await page.evaluate("document.activeElement.id") == "trigger-cron"
    await page.fill("#trigger-cron", "30 2 * * *")
    await page.fill("#trigger-zone", "Europe/Berlin")
    await page.click("#new-trigger .primary")
    await page.click("#made-trigger .primary")
    await page.wait_for_url("**/triggers/*")
    assert await page.locator(".times li:not(.shift)").count() == 10
    await page.click("text=Activate")
    await page.click("text=Run now")
    await page.wait_for_selector("table.list tr:has-text('a person')")
    await page.click("text=Deactivate")
    await page.wait_for_selector(".state:has-text('Inactive')")

    await page.goto(f"{server.url}/console/apps/{app}/triggers")
    await page.click("[data-open=new-trigger]")
    await page.fill("#trigger-name", "issue")
    await page.select_option("#trigger-kind", "webhook")
    assert await page.locator("#trigger-cron").is_hidden()
    await page.click("#new-trigger .primary")
    await page.wait_for_selector("#made-trigger[open]")
    assert "/v1/hooks/" in await page.inner_text("#made-trigger code")


async def test_tools_are_imported_after_a_look_and_called(server: Running, page: Any) -> None:
    async with Service.running() as service:
        await page.goto(f"{server.url}/console/tools")
        await page.click("[data-open=new-import]")
        await page.fill("#import-document", DOCUMENT.replace("SERVICE", service.url))
        await page.click("#import-tools .primary >> text=Preview")
        await page.wait_for_selector(".plan-list li")
        assert await page.locator(".plan-list li").count() == 2
        await page.uncheck(".plan-list li:has-text('ping') input")
        await page.click(".plan-make")
        await page.wait_for_selector("table.list >> text=pet")
        assert await page.locator("table.list tbody tr").count() == 1
        await page.click("table.list >> text=pet")
        await page.fill("#test", '{"id": "7"}')
        await page.click("form.test button")
        await page.wait_for_selector(".test-out .good")
        assert "/echo/pets/7" in await page.inner_text(".test-out pre")
        await page.click("text=Ask before each call")
        await page.wait_for_selector("text=Stop asking")


async def test_a_source_is_made_synced_and_deleted_with_its_items(server: Running, page: Any) -> None:
    base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Everything"}))["data"]["id"]
    await page.goto(f"{server.url}/console/knowledge/{base}/sources")
    await page.click(".empty [data-open=new-source]")
    await page.select_option("#source-kind", "directory")
    await page.fill("#source-name", "Share")
    await page.fill("#source-path", str(next(server.data_dir.glob("documents"))))
    await page.fill("#source-schedule", "")
    await page.click("#new-source .primary")
    await page.wait_for_url("**/console/sources/*")
    source = page.url
    await page.goto(f"{server.url}/console/knowledge/{base}/sources")
    await page.click("text=Sync now")
    await page.wait_for_selector("#sources >> text=3 found, 3 new")  # The page watches it by itself.
    await page.goto(source)
    await page.click("[data-ask=delete-source]")
    await page.fill("#delete-source-word", "Share")
    await page.press("#delete-source-word", "Enter")
    await page.wait_for_url("**/console/deletions/*")
