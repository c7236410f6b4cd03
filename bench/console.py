#!/usr/bin/env python3
"""The console in Debian's Chromium: pictures of every page, first paints, a conversation of 10,000 messages that is
scrolled to its beginning, a knowledge base of 100,000 items.

    python bench/console.py pictures DIR   # every page, empty and full, in both themes, 1440 and 390 pixels wide
    python bench/console.py paint          # first contentful paint of each page, the answer, what moves after it;
                                           # exits with 1 if a median is over 200 ms
    python bench/console.py long           # frames while scrolling, milliseconds of each page of earlier messages
    python bench/console.py many           # a page of the items, the first and the last
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1]))
from stoa.console import pages
from stoa.db.embedded import start_embedded
from tests.support import console_pages, syncs
from tests.support.browsers import chromium, opened, signed_in
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.running import Running, serving

PAINT_MILLISECONDS = 200
"""First contentful paint on loopback, median of five."""
MESSAGES = 10_000
ITEMS = 100_000
TURN = (
    "INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id)"
    " SELECT org_id, project_id, conversation_id, position + 2 * n, gen_random_uuid(), role,"
    " jsonb_build_array(jsonb_build_object('type', 'text', 'text', said)), said, status, NULL"
    " FROM messages, generate_series(1, $2::int) AS n,"
    " LATERAL (SELECT CASE role WHEN 'user' THEN 'Question ' || n ELSE '## Answer ' || n || E'\\n\\n"
    "Text with **weight**, `code` and a list:\\n\\n- one\\n- two\\n\\n```python\\nprint(' || n || E')\\n```\\n"
    "' || repeat('And a paragraph that fills a few lines. ', n % 20) END AS said) AS made WHERE conversation_id = $1"
)
ITEM = (
    "INSERT INTO knowledge_items (org_id, project_id, id, knowledgebase_id, name, size, mime_type, sha256, metadata,"
    " status, chunks, uploaded_at) SELECT org_id, project_id, gen_random_uuid(), knowledgebase_id, 'file-' || n,"
    " size, mime_type, sha256, '{}', 'processed', 1, now() - n * interval '1 second'"
    " FROM knowledge_items, generate_series(1, $2::int) AS n WHERE id = $1"
)
SHIFT = """() => new Promise(done => {
  let sum = 0;
  const watch = new PerformanceObserver(list => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;
  });
  watch.observe({ type: 'layout-shift', buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(sum), 150)));
})"""
"""The cumulative layout shift of a loaded page without any input."""
SCROLL = """async () => {
  const scroller = document.scrollingElement, frames = [], begun = performance.now();
  let last = performance.now(), still = 0;
  while (performance.now() - begun < 60000) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    scroller.scrollTop -= 120;
    if (scroller.scrollTop > 0) { still = 0; continue; }
    if (!document.querySelector('.load-earlier') || ++still > 600) break;
  }
  return {
    frames, whole: !document.querySelector('.load-earlier'),
    loaded: 80 + 40 * document.querySelectorAll('.chunk').length,
    there: document.querySelectorAll('.message').length, nodes: document.querySelectorAll('*').length,
  };
}"""
"""Scrolls from the end to the beginning, 120 pixels a frame (7,200 a second at 60 frames), for a minute at most."""


@asynccontextmanager
async def server(home: Path, name: str) -> AsyncIterator[tuple[Running, asyncpg.Connection]]:
    home.chmod(0o711)
    documents = home / "documents"
    if not documents.exists():
        syncs.fill(documents)
    embedded = await start_embedded(home / "cluster")
    databases = Databases(embedded.dsn)
    await databases.execute(f"CREATE DATABASE {name}")
    async with serving(databases(name), home / name, ScriptedModel(), source_directories=[documents]) as running:
        connection = await asyncpg.connect(databases(name))
        yield running, connection
        await connection.close()
    await databases.close()
    await embedded.stop()


async def pictures(home: Path, target: Path) -> None:
    async with server(home, "pictured") as (running, _), chromium() as launched:
        lists = {path.rsplit("/", 1)[1] or "chat": path for _, path, _ in pages.NAVIGATION}
        await _taken(launched, running.url, lists, target, "empty")
        made = await console_pages.fill(running, home / "documents")
        await _taken(launched, running.url, {**lists, **made}, target, "full")


async def _taken(launched: Any, url: str, shown: dict[str, str], target: Path, state: str) -> None:
    for scheme in ("light", "dark"):
        for width, height in ((1440, 900), (390, 844)):
            async with opened(launched) as chrome:
                size = {"width": width, "height": height}
                page = await signed_in(await chrome.context(color_scheme=scheme, viewport=size), url)
                for name, path in shown.items():
                    await page.goto(url + path)
                    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    picture = target / f"{name.replace(' ', '-')}-{state}-{width}-{scheme}.png"
                    await page.screenshot(path=str(picture), full_page=True)
                    if wide > 0:
                        print(f"{picture.name}: {wide} pixels too wide")
                for complaint in chrome.complaints:
                    print(f"{state} {scheme} {width}: {complaint}")


async def paint(home: Path) -> None:
    async with server(home, "painted") as (running, _), chromium() as launched, opened(launched) as chrome:
        made = await console_pages.fill(running, home / "documents")
        page = await signed_in(await chrome.context(), running.url)
        shown = {path: path for _, path, _ in pages.NAVIGATION} | made
        late: list[str] = []
        for name, path in shown.items():
            paints, answers, shifts = [], [], [0.0]
            for at, width in enumerate((1280, 390, 1280, 390, 1280)):
                await page.set_viewport_size({"width": width, "height": 844})
                await page.goto(running.url + path)
                if at < 2:
                    shifts.append(await page.evaluate(SHIFT))
                times = "performance.getEntriesByType('paint').find(one => one.name === 'first-contentful-paint')"
                paints.append(await page.evaluate(f"{times}?.startTime ?? 0"))
                answers.append(await page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd"))
            print(
                f"{name:34} {statistics.median(paints):6.0f} ms painted {statistics.median(answers):6.0f} ms answered"
                f" {max(shifts):6.3f} shifted",
                flush=True,
            )
            if statistics.median(paints) > PAINT_MILLISECONDS:
                late.append(name)
        busy = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        print(f"{len(shown) - len(late)} of {len(shown)} pages within {PAINT_MILLISECONDS} ms; {busy}")
        if late:
            sys.exit(f"later: {', '.join(late)}")


async def long(home: Path) -> None:
    async with (
        server(home, "long") as (running, connection),
        chromium() as launched,
        opened(launched) as chrome,
    ):
        talk = await running.conversation()
        await running.ask(talk)
        await connection.execute(TURN, talk, MESSAGES // 2 - 1)
        await connection.execute("UPDATE conversations SET message_count = $2 WHERE id = $1", talk, MESSAGES)
        page = await signed_in(await chrome.context(viewport={"width": 1440, "height": 900}), running.url)
        page.set_default_timeout(120_000)
        begun = perf_counter()
        await page.goto(f"{running.url}/console/chat/{talk}")
        print(f"opened at its end in {1000 * (perf_counter() - begun):.0f} ms")
        for _ in range(20):
            found = await page.evaluate(SCROLL)
            there = f"{found['loaded']:6} messages loaded, {found['there']:4} in the page, {found['nodes']:6} elements"
            print(_frames(found["frames"]), there, flush=True)
            if found["whole"]:
                break
        await page.evaluate("document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight")
        begun = perf_counter()
        await page.fill("#say", "A message at the end of a long conversation")
        print(f"a message is typed in {1000 * (perf_counter() - begun):.0f} ms with all of them in the page")


def _frames(taken: Sequence[float]) -> str:
    ordered = sorted(taken)
    late = sum(one > 1000 / 60 * 1.5 for one in ordered)
    at = {share: ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99, 1)}
    return (
        f"{len(ordered):5} frames: p50 {at[0.5]:5.1f}, p95 {at[0.95]:5.1f}, p99 {at[0.99]:5.1f}, most {at[1]:6.1f} ms,"
        f" {100 * late / len(ordered):4.1f} % late;"
    )


async def many(home: Path) -> None:
    async with (
        server(home, "many") as (running, connection),
        chromium() as launched,
        opened(launched) as chrome,
    ):
        made = await console_pages.fill(running, home / "documents")
        where = made["base"].partition("?")[0]
        first = await connection.fetchval("SELECT id FROM knowledge_items WHERE source_id IS NULL LIMIT 1")
        await connection.execute(ITEM, first, ITEMS)
        await connection.execute("ANALYZE knowledge_items")
        page = await signed_in(await chrome.context(), running.url)
        for path in (where, f"{where}?page=1000", f"{where}?page=2000", f"{where}?status=failed", f"{where}/items"):
            times: list[float] = []
            for _ in range(5):
                begun = perf_counter()
                await page.goto(running.url + path)
                times.append(perf_counter() - begun)
            elements = await page.evaluate("document.querySelectorAll('*').length")
            print(f"{path[len(where) :] or '/':16} {1000 * statistics.median(times):6.0f} ms, {elements} elements")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pictures", "paint", "long", "many"))
    parser.add_argument("target", nargs="?", type=Path, default=Path("pictures"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoa-console-") as home:
        if asked.what == "pictures":
            asked.target.mkdir(parents=True, exist_ok=True)
            asyncio.run(pictures(Path(home), asked.target))
        else:
            asyncio.run({"paint": paint, "long": long, "many": many}[asked.what](Path(home)))


if __name__ == "__main__":
    main()
