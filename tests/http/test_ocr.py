"""Pages without text, read by a model that sees: what is paid for is kept, what fails is said, what is deleted is gone."""

import asyncio
import base64
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from stoa.settings import Provider
from tests.conftest import Running, serving
from tests.doubles import ScriptedModel
from tests.http.test_knowledge import TRAVEL, base_of, search, settled, upload
from tests.scripted_model import ScriptedServer

CANARY = "Zyxkanarienvogel"


def scans(pages: int) -> bytes:
    """A PDF: a page of text, an empty one, then pages that only show a drawing, each as many points wide as its number times 100."""
    contents = [b"BT /F1 12 Tf 50 700 Td (The contract begins in March and names both parties.) Tj ET", b""]
    contents += [b"10 10 50 50 re f"] * (pages - 2)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for number, content in enumerate(contents, 1):
        objects.append(b"<</Length %d>>stream\n%s\nendstream\n" % (len(content), content))
        box = b"/MediaBox[0 0 %d 800]" % (number * 100)
        objects.append(b"<</Type/Page/Parent 2 0 R%s/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>" % (box, len(objects)))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(kids), pages)
    body = b"".join(b"%d 0 obj%sendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (len(objects) + 1)


class Eyes:
    """Plays the model: knows each page by the width of its picture, and answers as the page's script says."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.asked: Counter[int] = Counter()
        self.scripts: dict[int, dict[str, Any]] = {}
        server.script = self.look

    def look(self, body: dict[str, Any]) -> dict[str, Any]:
        [url] = re.findall(r"data:image/png;base64,[^\"']+", str(body))
        data = base64.b64decode(url.partition(",")[2])
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        page = round(int.from_bytes(data[16:20], "big") * 72 / 150 / 100)
        self.asked[page] += 1
        return {"id": f"page {page}", "pieces": [f"# Annex {page}\n\n", f"Clause {page} speaks of {CANARY}{page}."], **self.scripts.get(page, {})}

    @property
    def settings(self) -> dict[str, Any]:
        provider = Provider(name="eyes", type="openai", base_url=self.server.url, api_key=SecretStr("k"))
        return {"providers": (provider,), "ocr_model": "eyes/scripted-vision"}


@pytest.fixture
async def eyes() -> AsyncIterator[Eyes]:
    async with ScriptedServer() as server:
        yield Eyes(server)


async def test_pages_without_text_are_read_and_marked(dsn: str, tmp_path: Path, eyes: Eyes) -> None:
    eyes.scripts = {4: {"status": 400, "message": "no such picture"}, 5: {"pieces": ["NO_TEXT"]}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("contract.pdf", scans(6)))
        [done] = await settled(server, base["id"])
        assert (done["status"], done["progress"]["pages"]) == ("processed", 6)
        said = " ".join(done["warnings"])
        assert "1 of 6 pages hold no text (scanned or empty): 2." in said
        assert "Page 4 could not be read by OCR (model_refused_request)" in said
        assert "also not in their picture: 5" in said
        assert eyes.asked == {3: 1, 4: 1, 5: 1, 6: 1}
        [hit] = await search(server, base["id"], f"{CANARY}6", mode="keyword", limit=1)
        assert (hit["metadata"]["page"], hit["metadata"]["heading"], hit["metadata"]["ocr"]) == (6, "Annex 6", True)
        [typed] = await search(server, base["id"], "contract March parties", mode="keyword", limit=1)
        assert typed["metadata"]["page"] == 1
        assert "ocr" not in typed["metadata"]
        # Once more: only the page that failed is asked for.
        eyes.scripts = {}
        await server.call("POST", f"/v1/knowledgebase-items/{item['id']}/reprocess")
        [again] = await settled(server, base["id"])
        assert "OCR" not in " ".join(again["warnings"])
        assert eyes.asked == {3: 1, 4: 2, 5: 1, 6: 1}
        # The same file as another item costs nothing either.
        await upload(server, base["id"], ("copy.pdf", scans(6)))
        await settled(server, base["id"])
        assert sum(eyes.asked.values()) == 5
        gone = await server.call("DELETE", f"/v1/knowledgebase-items/{item['id']}")
        receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
        assert receipt["stores"]["knowledge_transcripts"]["rows"] == 4
        assert receipt["verified_at"]
        await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
        assert await canaries(dsn) == []


async def canaries(dsn: str) -> list[str]:
    """Tables whose rows, as text, hold the canary."""
    database = await asyncpg.connect(dsn)
    try:
        tables = [row["relname"] for row in await database.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")]
        return [table for table in tables if await database.fetchval(f'SELECT count(*) FROM "{table}" t WHERE t::text ILIKE $1', f"%{CANARY}%")]
    finally:
        await database.close()


async def test_a_page_that_was_read_is_not_paid_for_twice(dsn: str, tmp_path: Path, eyes: Eyes) -> None:
    eyes.scripts = {5: {"first_delay": 600}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("contract.pdf", scans(6)))
        async with asyncio.timeout(30):
            while True:
                shown = (await server.call("GET", f"/v1/knowledgebase-items/{item['id']}"))["data"]
                if shown.get("progress", {}).get("pages") == 5:  # All but the one that the model still looks at.
                    break
                await asyncio.sleep(0.05)
        assert shown["status"] == "processing"
    eyes.scripts = {}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        [done] = await settled(server, base["id"])
        assert (done["status"], done.get("warnings")) == ("processed", ["1 of 6 pages hold no text (scanned or empty): 2."])
        assert eyes.asked == {3: 1, 4: 1, 5: 2, 6: 1}
        # A replacement forgets what the old version said.
        await upload(server, base["id"], ("contract.md", TRAVEL), ids=f'["{item["id"]}"]')
        await settled(server, base["id"])
        assert "knowledge_transcripts" not in await canaries(dsn)


async def test_pictures_are_documents_of_one_page(dsn: str, tmp_path: Path, eyes: Eyes) -> None:
    from stoa.knowledge.converting.pdf import _png  # noqa: PLC0415 — the drawing that the reader itself makes

    picture = _png(625, 10, (b"\0" + b"\xff" * 625) * 10)
    eyes.scripts = {3: {"status": 400}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("scan.png", picture))
        [failed] = await settled(server, base["id"])
        assert (failed["status"], failed["error"]["code"]) == ("failed", "model_refused_request")
        eyes.scripts = {}
        await server.call("POST", f"/v1/knowledgebase-items/{failed['id']}/reprocess")
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        [hit] = await search(server, base["id"], f"{CANARY}3", mode="keyword", limit=1)
        assert (hit["metadata"]["page"], hit["metadata"]["ocr"]) == (1, True)


async def test_a_model_that_does_not_see_is_said(dsn: str, tmp_path: Path, eyes: Eyes) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), **{**eyes.settings, "ocr_model": "eyes/scripted"}) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("contract.pdf", scans(3)))
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        assert "does not see images" in " ".join(done["warnings"])


async def test_without_a_model_blank_pages_are_named(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("contract.pdf", scans(4)))
    [done] = await settled(shared_server, base["id"])
    assert done["warnings"] == ["3 of 4 pages hold no text (scanned or empty): 2, 3, 4."]
