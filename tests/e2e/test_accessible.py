"""axe finds nothing serious on any page, in both themes, full and empty; pages stay within their budgets."""

import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running
from tests.support.browsers import opened, signed_in
from tests.support.doubles import answer

ASSETS = Path(__file__).parents[2] / "src" / "stoa" / "console" / "assets"
COMPRESSED_BYTES_MAX = 60_000
AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .map(v => [v.impact, v.id, v.nodes.map(n => n.target.join(' ')).slice(0, 3)])"""


def test_script_and_style_are_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in ASSETS.iterdir()}
    assert sum(sizes.values()) <= COMPRESSED_BYTES_MAX, sizes


async def found_by_axe(page: Any) -> list[Any]:
    axe = (files("axe_core_python") / "axe.min.js").read_text("utf-8")
    await page.evaluate(axe)
    return [one for one in await page.evaluate(AXE) if one[0] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(running: Running, launched: Any, scheme: str) -> None:
    running.model.scripts = [
        answer(
            "# Answer\n\n",
            "With `code` [1], a [link](https://example.com) and\n\n```python\nx = 1\n```\n",
            reasoning="Hm.",
        )
    ]
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(color_scheme=scheme, reduced_motion="reduce"), running.url)
        found = {"/": await found_by_axe(page)}
        paths = json.loads(
            await page.evaluate(
                "() => JSON.stringify([...document.querySelectorAll('.pages a')].map(a => a.getAttribute('href')))"
            )
        )
        for path in paths[1:]:
            await page.goto(running.url + path)
            found[f"{path} (empty)"] = await found_by_axe(page)
        await page.goto(f"{running.url}/")
        await page.fill("#say", "Question")
        await page.press("#say", "Enter")
        await page.wait_for_selector(".verified .good")
        found["chat"] = await found_by_axe(page)
        base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "Papers"}))["data"]["id"]
        run = (await running.call("GET", "/v1/runs"))["data"][0]["id"]
        one = [
            f"/console/runs/{run}",
            f"/console/traces/{run}",
            f"/console/traces/compare?trace={run}&trace={run}",
            f"/console/knowledge/{base}?q=tide",
        ]
        docs = ["/docs", "/docs/concepts", "/docs/guide/operate", "/docs/search?q=lease"]
        for path in [*paths[1:], *one, *docs]:
            await page.goto(running.url + path)
            found[path] = await found_by_axe(page)
        await page.goto(f"{running.url}/console/nothing")
        found["error"] = await found_by_axe(page)
        assert {path: problems for path, problems in found.items() if problems} == {}
        assert chrome.complaints == []
