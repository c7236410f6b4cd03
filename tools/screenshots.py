"""Pictures of every page of the console, empty, full and refused, light and dark, wide and narrow: to be looked at.

    python tools/screenshots.py DIRECTORY [PAGE …]
    python tools/screenshots.py DIRECTORY --language de [PAGE …]

`error` is what somebody sees whose key may do next to nothing. Wants Chromium, and Playwright.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from stoa.console import pages
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.gateway import ModelError
from tests.support import console_pages, syncs
from tests.support.browsers import chromium, opened, signed_in
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.running import Running, serving

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
LISTS = {
    **{name: path for name, path, _ in pages.NAVIGATION if name != "chat"},
    "doctor": "/console/doctor",
    "found": "/console/search?q=tide",
}
SIGNING = {
    "sign-in": "/console/sign-in",
    "forgotten": "/console/forgotten",
    "reset": "/console/reset",
    "invitation": "/console/invitation",
    "welcome": "/console/welcome",
    "docs": "/docs",
    "docs-guide": "/docs/guide/agents",
    "docs-moving": "/docs/moving/open-webui",
    "docs-search": "/docs/search?q=lease",
    "docs-api": "/docs/api",
}
FRAGMENTS = ("thread", "passages", "items", "sources only")
"""Addresses that are parts of pages."""
TIDES = (
    "# Tides\n\nThe moon pulls the sea [1]. **Twice** a day the water rises, and `sin` says when.\n\n",
    "- Brest: six metres\n- Saint-Malo: twelve metres, among the highest in Europe\n\n",
    "```python\ndef tide(hour: float) -> float:\n    return 3 + 3 * sin(hour / 12.42 * tau)  # metres\n```\n\n",
    "| port | metres |\n|--|--:|\n| Brest | 6.1 |\n| Saint-Malo | 12.0 |\n\n> The sea does not hurry.\n",
)
RIGHT_TO_LEFT = (
    "## المد والجزر\n\nالقمر يجذب **البحر** [1]، ويرتفع الماء مرتين في اليوم. الدالة `sin` تقول متى.\n\n",  # noqa: RUF001 — Arabic, Hebrew
    "- بريست: ستة أمتار\n- سان مالو: اثنا عشر مترا\n\n> البحر لا يستعجل.\n\n",
    "```python\nprint(6.1)  # metres\n```\n\n| ميناء | أمتار |\n|---|---|\n| بريست | 6.1 |\n\n",
    "And a paragraph in English after it.\n\nגאות היא עליית פני הים, פעמיים ביום.\n",  # noqa: RUF001 — Arabic, Hebrew
)
MANY_STEPS = 24


@asynccontextmanager
async def server(model: ScriptedModel) -> AsyncIterator[tuple[Running, Path]]:
    with tempfile.TemporaryDirectory(prefix="stoa-screenshots-") as room:
        Path(room).chmod(0o755)  # noqa: ASYNC240 — a tool's own directory
        database = await start_embedded(Path(room) / "cluster")
        try:
            await migrate(database.dsn)
            tool = ScriptedTool("pay", approval=True, editable_params=("amount",))
            async with serving(
                database.dsn,
                Path(room) / "data",
                model,
                toolbox=ScriptedToolbox(tool, ScriptedTool("weather")),
                allow_private_addresses=True,
                source_directories=[Path(room) / "documents"],
            ) as running:
                syncs.fill(Path(room) / "documents")
                yield running, Path(room) / "documents"
        finally:
            await database.stop()


async def fill(running: Running) -> dict[str, str]:
    """Something of everything; gives the addresses of pages about one thing."""
    model = running.model
    model.scripts = [answer(*TIDES, reasoning="Tides follow the moon; twelve hours and twenty-five minutes.")]
    talk = await running.conversation(title="When is high tide in Brest?")
    run = await running.ask(talk, "When is high tide, and how high?")
    failed = await running.conversation(
        title="A question that fails, with a rather long title that does not fit anywhere in one line"
    )
    model.scripts = [
        [ModelError("model_error", "The provider answered with status 500; it was asked three times.", retryable=False)]
    ]
    model.requests.clear()
    broken = await running.ask(failed, "Fail, please")
    model.scripts = [calling(("pay", '{"to": "Ada Lovelace", "amount": 10}'), say="I need your approval. ")]
    model.requests.clear()
    waiting = await running.conversation(title="Pay Ada", agent={"tools": ["pay"], "approvals": ["pay"]})
    asked = {"content": "Pay Ada ten euros", "background": True}
    paused = (await running.call("POST", f"/v3/conversations/{waiting}/messages", 202, json=asked))["data"]["id"]
    await running.status(paused, "paused")
    base = (
        await running.call(
            "POST", "/v1/knowledgebases", 201, json={"name": "Papers", "description": "What we read about the sea"}
        )
    )["data"]["id"]
    files = [
        (
            "files",
            (
                "tides.md",
                b"# Tides\n\nHigh tide is at six. The moon pulls the sea.\n\n## Ports\n\nBrest has six metres.",
            ),
        ),
        ("files", ("currents.txt", b"Currents run along the coast. High water comes later in the east.")),
        ("files", ("damaged.pdf", b"%PDF-1.4 broken")),
    ]
    await running.call("POST", f"/v1/knowledgebases/{base}/upload", 201, files=files)
    for _ in range(600):
        items = (await running.call("GET", f"/v1/knowledgebases/{base}/items"))["data"]
        if all(one["status"] in ("processed", "failed") for one in items):
            break
        await asyncio.sleep(0.1)
    model.requests.clear()
    model.scripts = [answer(*RIGHT_TO_LEFT)]
    arabic = await running.conversation(title="متى يكون المد عاليا في بريست، وكم يبلغ ارتفاعه؟")
    await running.ask(arabic, "متى المد؟\nAnd a line in English.\nמתי הגאות?")  # noqa: RUF001 — Arabic, Hebrew
    await running.call("PATCH", f"/v1/conversations/{arabic}", json={"pinned": True})
    model.requests.clear()
    model.scripts = [
        *[calling(("weather", f'{{"city": "Port {number}"}}')) for number in range(MANY_STEPS)],
        answer("W" + "o" * 300 + "rd, and ", "![a picture](https://example.com/a.png) and $e^{i\\pi} + 1 = 0$."),
    ]
    steps = await running.conversation(title="Many steps", agent={"tools": ["weather"]})
    await running.ask(steps, "Ask all ports")
    limited = {"name": "Reporting", "permissions": ["usage:read", "runs:read"], "rate_limit": 60, "spending_limit": 25}
    await running.call("POST", "/v1/access-keys", 201, json=limited)
    deletion = (await running.call("DELETE", f"/v1/conversations/{await running.conversation()}"))["deletion_id"]
    return {
        "chat": f"/console/chat/{talk}",
        "chat-approval": f"/console/chat/{waiting}",
        "chat-failed": f"/console/chat/{failed}",
        "chat-rtl": f"/console/chat/{arabic}",
        "chat-steps": f"/console/chat/{steps}",
        "pinned": "/console/conversations?pinned=true",
        "run": f"/console/runs/{run['id']}",
        "run-failed": f"/console/runs/{broken['id']}",
        "run-paused": f"/console/runs/{paused}",
        "trace": f"/console/traces/{run['id']}",
        "base": f"/console/knowledge/{base}",
        "base-search": f"/console/knowledge/{base}?q=when+is+high+tide&mode=hybrid&mode=keyword",
        "search": "/console/conversations?q=tide",
        "deletion": f"/console/deletions/{deletion}",
    }


async def shoot(page: Any, url: str, where: Path, name: str, paths: dict[str, str], wanted: Sequence[str]) -> None:
    for label, path in paths.items():
        if wanted and label not in wanted:
            continue
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 900 if width > 500 else 844})
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                await page.goto(url + path)
                await page.wait_for_load_state("networkidle" if "chat" not in label else "load")
                if label == "chat" and name == "full" and await page.locator(".show-steps").count():
                    await page.locator(".show-steps").first.click(force=True)
                    await page.wait_for_selector("details.steps")
                if label == "chat-approval" and name == "full":
                    await page.wait_for_selector(".card")
                wide = await page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
                if wide:
                    print(f"{label} {name} {width}: wider than the window", flush=True)
                await page.screenshot(
                    path=str(where / f"{label}-{name}-{width}-{scheme}.png"), full_page="chat" not in label
                )


async def main(where: Path, wanted: Sequence[str], language: str) -> None:
    locale = {"locale": language}
    lists = {"new": "/", **LISTS}
    async with server(ScriptedModel()) as (running, documents), chromium() as launched, opened(launched) as chrome:
        page = await signed_in(await chrome.context(**locale), running.url)
        stranger = await (await chrome.context(**locale)).new_page()
        await shoot(stranger, running.url, where, "empty", SIGNING, wanted)
        await shoot(page, running.url, where, "empty", lists, wanted)
        one = await fill(running)
        running.model.requests.clear()
        more = await console_pages.fill(running, documents)
        one |= {name.replace(" ", "-"): path for name, path in more.items() if name not in {*one, *FRAGMENTS}}
        await shoot(page, running.url, where, "full", {**lists, **one}, wanted)
        poor = (
            await running.call("POST", "/v1/access-keys", 201, json={"name": "Poor", "permissions": ["doctor:read"]})
        )["data"]["key"]
        other = await signed_in(await chrome.context(**locale), running.url, poor)
        await shoot(other, running.url, where, "error", {**lists, **one, "nothing": "/console/nothing"}, wanted)
        print("complaints:", chrome.complaints, chrome.elsewhere)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("page", nargs="*")
    parser.add_argument("--language", default="en")
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(asked.directory, asked.page, asked.language))
