"""A server that is killed while a model reads a scan: what was read is kept and on the bill, and nothing of it is asked
for again."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from stoa.db.embedded import start_embedded
from tests.support.crashes.server import KEY, Server
from tests.support.scans import VisionModel, scans
from tests.support.scripted_model import ScriptedServer

PAGES = 11
SCANNED = range(3, PAGES + 1)
HELD, KEPT = 4, 5
"""The page at whose row the first kill comes, and the pages on the bill at the second."""
AT_ONCE = 4
"""Pages that are on their way at the same time: what a kill can lose, each of them asked for once more."""


@pytest.mark.timeout(180)
async def test_no_kept_page_is_asked_for_again_and_each_is_on_the_bill_once(room: Path) -> None:
    home = room / "crash-ocr"
    async with ScriptedServer() as model:
        eyes = VisionModel(model)
        eyes.scripts = {page: {"first_delay": 0.2} for page in SCANNED}
        server = Server(home, model.url, STOA_OCR_MODEL="openai/scripted-vision")
        await server.start()
        async with httpx.AsyncClient(
            base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=20
        ) as http:
            try:
                base = (await call(http, "POST", "/v1/knowledgebases", json={"name": "Scans"}))["data"]["id"]
                await hold_page(home)
                await call(
                    http, "POST", f"/v1/knowledgebases/{base}/upload", files=[("files", ("scan.pdf", scans(PAGES)))]
                )
                await held(home)
                await server.kill(database=True)
                before = await billed(http, at_least=KEPT)
                await server.kill(database=False)
                assert await billed(http, at_least=before) <= before + AT_ONCE
                item = await processed(http, base)
                assert (item["status"], item.get("warnings")) == (
                    "processed",
                    [f"1 of {PAGES} pages hold no text (scanned or empty): 2."],
                )
                assert await billed(http, at_least=0) == len(SCANNED)
                assert (await call(http, "GET", "/v1/doctor"))["data"]["healthy"]
                for page in SCANNED:
                    body = {"query": f"Clause {page} speaks of Zyxkanarienvogel{page}", "mode": "keyword", "limit": 1}
                    [hit] = (await call(http, "POST", f"/kb/{base}/v1/documents/search", json=body))["data"]
                    assert hit["metadata"]["page"] == page
            finally:
                await server.stop()
        assert set(eyes.asked) == set(SCANNED)
        again = {page: times for page, times in eyes.asked.items() if times > 1}
        assert HELD in again
        assert len(again) <= AT_ONCE * 2, again
        await same_pages_and_lines(home)


HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.page = %d AND pg_postmaster_start_time() = '%s' THEN PERFORM pg_sleep(600); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON knowledge_transcripts FOR EACH ROW EXECUTE FUNCTION hold()"""


async def hold_page(home: Path) -> None:
    """As long as this postmaster lives, a page's row is never written, though its line of the bill is: a kill finds the
    transaction between the two."""
    embedded = await start_embedded(home)
    database = await asyncpg.connect(embedded.dsn)
    await database.execute(HOLD % (HELD, await database.fetchval("SELECT pg_postmaster_start_time()::text")))
    await database.close()
    await embedded.stop()


async def held(home: Path) -> None:
    embedded = await start_embedded(home)
    database = await asyncpg.connect(embedded.dsn)
    async with asyncio.timeout(30):
        while not await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0.02)
    await database.close()
    await embedded.stop()


async def call(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    answer = await http.request(method, path, **options)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def billed(http: httpx.AsyncClient, *, at_least: int) -> int:
    """Pages on the bill, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            rows = (await call(http, "GET", "/v1/usage?kind=ocr"))["data"]
            if (calls := rows[0]["calls"] if rows else 0) >= at_least:
                return int(calls)
            await asyncio.sleep(0.01)


async def processed(http: httpx.AsyncClient, base_id: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            [item] = (await call(http, "GET", f"/v1/knowledgebases/{base_id}/items"))["data"]
            if item["status"] in ("processed", "failed"):
                return item
            await asyncio.sleep(0.05)


async def same_pages_and_lines(home: Path) -> None:
    """Each page names a line of its own, and there is no other line."""
    embedded = await start_embedded(home)
    database = await asyncpg.connect(embedded.dsn)
    try:
        rows = await database.fetch(
            "SELECT t.page, t.call_id, c.id FROM knowledge_transcripts t FULL JOIN model_calls c ON c.id = t.call_id"
        )
        assert sorted(row["page"] for row in rows) == list(SCANNED)
        assert len({row["id"] for row in rows}) == len(SCANNED)
    finally:
        await database.close()
        await embedded.stop()
