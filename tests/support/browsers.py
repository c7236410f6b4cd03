"""Browsers: one that sends what a browser sends, and Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.support.running import FIRST_KEY, NO_AUTHORITIES, Running


def browser(running: Running) -> httpx.AsyncClient:
    """Without a key; with the headers that a browser sends from a page of this server."""
    headers = {"Accept": "text/html", "Origin": running.url, "Sec-Fetch-Site": "same-origin"}
    return httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=running.url, headers=headers, timeout=30)


async def sign_in(client: httpx.AsyncClient, key: str = FIRST_KEY, **fields: str) -> httpx.Response:
    return await client.post("/console/sign-in", data={"key": key, **fields})


@dataclass
class Chromium:
    """A browser, and all errors that its pages reported."""

    browser: Any
    contexts: list[Any] = field(default_factory=list[Any])
    complaints: list[str] = field(default_factory=list[str])
    elsewhere: list[str] = field(default_factory=list[str])
    """Addresses of other hosts that pages requested."""

    async def context(self, **options: Any) -> Any:
        made = await self.browser.new_context(**options)
        self.contexts.append(made)
        made.set_default_timeout(15_000)
        made.on("weberror", lambda error: self.complaints.append(str(error.error)))
        made.on("console", self._said)
        made.on("request", self._asked)
        return made

    def _said(self, message: Any) -> None:
        text = str(message.text)
        if message.type == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:")):
            self.elsewhere.append(request.url)


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """The browser process, shared by many tests: it takes a second to start. Skips where there is no browser; CI must
    have one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        assert not os.environ.get("CI"), "CI must have a browser"
        pytest.skip("no Chromium on this machine")
    from playwright.async_api import async_playwright  # noqa: PLC0415 — only where there is a browser

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-quic"])
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def opened(launched: Any) -> AsyncIterator[Chromium]:
    """A browser context for one test: it shares no cookie, cache or page with another."""
    made = Chromium(launched)
    try:
        yield made
    finally:
        for context in made.contexts:
            await context.close()


async def signed_in(context: Any, url: str, key: str = FIRST_KEY) -> Any:
    """A page of the chat."""
    page = await context.new_page()
    await page.goto(f"{url}/")
    await page.fill("#key", key)
    await page.press("#key", "Enter")
    await page.wait_for_selector("#say")
    return page
