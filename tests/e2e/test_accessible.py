"""axe finds nothing serious on any page, in both themes, full and empty; pages stay within their budgets."""

import gzip
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stoa.console import pages
from tests.conftest import Running, serving
from tests.support import console_pages, syncs
from tests.support.browsers import opened, signed_in
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer

ASSETS = Path(__file__).parents[2] / "src" / "stoa" / "console" / "assets"
COMPRESSED_BYTES_MAX = 60_000
AXE = """async only => {
  const how = {resultTypes: ['violations'], preload: false, ...(only ? {runOnly: only} : {})};
  const serious = async selectors => (await axe.run(document, {...how, selectors})).violations
    .filter(v => ['serious', 'critical'].includes(v.impact));
  return (await serious(false)).length === 0 ? [] : (await serious(true))
    .map(v => [v.id, v.nodes.map(n => n.target.join(' ')).slice(0, 3)]);
}"""
"""Names of elements, a third of the time, are made where there is something to name. What `preload` reads again, style
sheets and media, no rule asks for that runs here."""
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules whose answer depends on the theme."""
LISTS = [path for _, path, _ in pages.NAVIGATION]
DOCUMENTATION = ["/docs", "/docs/concepts", "/docs/guide/operate", "/docs/search?q=lease"]
NOT_WHOLE = {"thread", "passages", "items", "sources only"}
"""Pieces of pages."""


def test_script_and_style_are_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in ASSETS.iterdir()}
    assert sum(sizes.values()) <= COMPRESSED_BYTES_MAX, sizes


@pytest.fixture(scope="module")
async def full(cluster: Databases, room: Path) -> AsyncIterator[tuple[Running, list[str]]]:
    """A server with something on every page, and the pages."""
    name = f"axe_{uuid4().hex}"
    documents = room / name / "documents"
    syncs.fill(documents)
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel(), source_directories=[documents]
    ) as running:
        made = await console_pages.fill(running, documents)
        yield running, [path for name, path in made.items() if name not in NOT_WHOLE]


async def found_by_axe(page: Any, only: list[str] | None = None) -> list[Any]:
    if not await page.evaluate("'axe' in window"):  # Compiling it takes longer than a look at a page's colours.
        await page.evaluate((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    return list(await page.evaluate(AXE, only))


async def looked_at(page: Any, url: str, paths: list[str]) -> dict[str, Any]:
    """What axe says of each page that it says anything of: of all of it in the light, of its colours in the dark."""
    found: dict[str, Any] = {}
    for path in paths:
        await page.emulate_media(color_scheme="light")
        await page.goto(url + path)
        found[path] = await found_by_axe(page)
        await page.emulate_media(color_scheme="dark")
        found[f"{path} in the dark"] = await found_by_axe(page, COLOURS)
    return {path: problems for path, problems in found.items() if problems}


async def test_axe_finds_nothing_serious_on_empty_pages(shared_server: Running, launched: Any) -> None:
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(reduced_motion="reduce"), shared_server.url)
        assert await looked_at(page, shared_server.url, [*LISTS, "/console/nothing", *DOCUMENTATION]) == {}
        assert chrome.complaints == []


async def test_axe_finds_nothing_serious_on_full_pages(full: tuple[Running, list[str]], launched: Any) -> None:
    running, paths = full
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(reduced_motion="reduce"), running.url)
        assert await looked_at(page, running.url, [*LISTS, *paths]) == {}
        assert chrome.complaints == []


async def test_axe_sees_pale_text_in_the_dark(shared_server: Running, launched: Any) -> None:
    """A page on which its colours are changed while it is open."""
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(reduced_motion="reduce"), shared_server.url)
        await page.goto(f"{shared_server.url}/console/apps")
        await page.emulate_media(color_scheme="dark")
        await page.evaluate("document.querySelector('h1').style.color = '#333'")
        assert [rule for rule, _ in await found_by_axe(page, COLOURS)] == ["color-contrast"]


@pytest.mark.parametrize("path", ["/console/apps", "/console/tools"])
async def test_axe_finds_nothing_serious_in_dialogs(shared_server: Running, launched: Any, path: str) -> None:
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(reduced_motion="reduce"), shared_server.url)
        await page.goto(shared_server.url + path)
        for dialog in await page.locator("dialog:has(form[data-call])").all():
            await dialog.evaluate("dialog => dialog.showModal()")
            assert await found_by_axe(page) == []
            await page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_an_answer(shared_server: Running, launched: Any, scheme: str) -> None:
    shared_server.model.scripts = [
        answer(
            "# Answer\n\n",
            "With `code` [1], a [link](https://example.com) and\n\n```python\nx = 1\n```\n",
            reasoning="Hm.",
        )
    ]
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(color_scheme=scheme, reduced_motion="reduce"), shared_server.url)
        await page.fill("#say", "Question")
        await page.press("#say", "Enter")
        await page.wait_for_selector(".verified .good")
        assert await found_by_axe(page) == []


async def test_axe_finds_nothing_serious_where_people_sign_in(running: Running, launched: Any) -> None:
    """In both languages, on a phone: the pages before a session, and those of one's account and the members."""
    link = running.server.owner_link
    async with opened(launched) as chrome:
        options = {"viewport": {"width": 390, "height": 844}, "locale": "de-DE", "reduced_motion": "reduce"}
        page = await (await chrome.context(**options)).new_page()
        found: dict[str, list[Any]] = {}
        for path in ("sign-in", "forgotten", "reset", "invitation", f"welcome#{link}"):
            await page.goto(f"{running.url}/console/{path}")
            found[path] = await found_by_axe(page)
        assert "stoa_own_" not in page.url, "what the link carries leaves the address"
        await page.fill("#email", "ada@example.com")
        await page.fill("#password", "correct horse battery")
        await page.press("#password", "Enter")
        await page.wait_for_selector("#say")
        await page.goto(f"{running.url}/console/members")
        await page.click("[data-open=new-member]")
        await page.fill("#invite-email", "bob@example.com")
        await page.press("#invite-email", "Enter")
        await page.wait_for_selector("#made-invitation[open] code:has-text('/console/invitation#stoa_inv_')")
        handed_over = await page.inner_text("#made-invitation code")
        found["an invitation is shown"] = await found_by_axe(page)
        await page.click("#made-invitation button.primary")
        await page.wait_for_selector("[data-invitation]")
        found["members"] = await found_by_axe(page)
        await page.goto(f"{running.url}/console/account")
        await page.click("[data-open=new-token]")
        await page.fill("#token-name", "laptop")
        await page.press("#token-name", "Enter")
        await page.wait_for_selector("#made-token[open] code:has-text('stoa_pat_')")
        await page.click("#made-token button.primary")
        await page.wait_for_selector("[data-token]")
        found["account"] = await found_by_axe(page)
        guest = await (await chrome.context(color_scheme="dark")).new_page()
        await guest.goto(handed_over)
        await guest.fill("#password", "another long password")
        await guest.press("#password", "Enter")
        await guest.wait_for_selector("#say")
        assert {path: problems for path, problems in found.items() if problems} == {}
        assert chrome.complaints == []
