"""The pages of traces in a browser: one grows while it runs, two are ticked and compared; axe finds nothing."""

import asyncio
from importlib.resources import files
from typing import Any
from uuid import uuid4

from tests.conftest import Running
from tests.support.browsers import opened, signed_in


def step(trace_id: str, name: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{name}-{trace_id}",
        "name": name,
        "type": "node" if parent else "workflow",
        "trace_id": trace_id,
        "parent_run_id": f"{parent}-{trace_id}" if parent else None,
        "source_id": "shop",
        "start_time": "2026-03-01T12:00:00+00:00",
        "end_time": "2026-03-01T12:00:02+00:00",
        "status": "succeeded",
        "input": {"q": "When is high tide?"},
        "metadata": {"node": {"model": "gpt-4o"}, "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
        **fields,
    }


async def serious(page: Any) -> list[str]:
    await page.evaluate((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    return list(await page.evaluate("async () => (await axe.run(document)).violations.map(one => one.id)"))


async def test_an_open_trace_page_updates_and_two_traces_are_compared(shared_server: Running, launched: Any) -> None:
    server = shared_server
    project = (await server.call("GET", "/v1/projects"))["data"][0]["id"]
    made = await server.call("POST", "/v1/access-keys", 201, json={"name": "sdk", "project_id": project})
    key = {"Authorization": f"Bearer {made['data']['key']}"}
    one, other = str(uuid4()), str(uuid4())

    async def send(*runs: dict[str, Any]) -> None:
        await server.call("POST", "/v1/traces", json={"runs": list(runs)}, headers=key)

    await send(step(one, "Workflow", end_time=None, status=None))
    await send(step(other, "Workflow"), step(other, "Search", "Workflow", status="failed", error={"message": "down"}))
    async with asyncio.timeout(90), opened(launched) as chrome:
        page = await signed_in(await chrome.context(reduced_motion="reduce"), server.url)
        await page.goto(f"{server.url}/console/traces/{one}")
        assert "goes on" in await page.inner_text("[role=status]")
        await page.click("#details-1 summary")
        await send(step(one, "Search", "Workflow"))
        await page.wait_for_selector("#trace table >> text=Search")
        assert await page.get_attribute("#details-1", "open") is not None, "what was open stays open"
        await send(step(one, "Workflow"))
        await page.wait_for_selector("#trace table >> text=Succeeded")
        assert await serious(page) == []
        await page.goto(f"{server.url}/console/traces?wire=sdk")
        for row in (one, other):
            await page.check(f"input[value='{row}']")
        assert await serious(page) == []
        await page.click("text=Compare the two that are ticked")
        await page.wait_for_selector("text=Difference")
        assert "State" in await page.inner_text("table")
        assert await serious(page) == []
        assert chrome.complaints == []
