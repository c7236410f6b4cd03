"""Pages without text, read by a model that sees: what is paid for is kept, what fails is said, what is deleted is
gone."""

import asyncio
import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import docx
import pptx
import pytest
from PIL import Image

from tests.conftest import Running, serving
from tests.support.bills import key_of, usage
from tests.support.doubles import ScriptedModel
from tests.support.knowledge import TRAVEL, base_of, search, settled, sources, upload
from tests.support.scans import CANARY, VisionModel, scans
from tests.support.scripted_model import ScriptedServer


def drawing(*pages: int, form: str = "PNG", mode: str = "L", **options: Any) -> bytes:
    """A picture as wide as a drawing of that page is; a TIFF of several."""
    first, *others = [Image.new(mode, (round(page * 100 * 150 / 72), 80), "white") for page in pages]
    made = io.BytesIO()
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(made, form, **more, **options)
    return made.getvalue()


@pytest.fixture
async def eyes() -> AsyncIterator[VisionModel]:
    async with ScriptedServer() as server:
        yield VisionModel(server)


async def test_pages_without_text_are_read_and_marked(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
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
        tables = [
            row["relname"]
            for row in await database.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        ]
        return [
            table
            for table in tables
            if await database.fetchval(f'SELECT count(*) FROM "{table}" t WHERE t::text ILIKE $1', f"%{CANARY}%")
        ]
    finally:
        await database.close()


async def test_a_page_that_was_read_is_not_paid_for_twice(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
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
        assert (done["status"], done.get("warnings")) == (
            "processed",
            ["1 of 6 pages hold no text (scanned or empty): 2."],
        )
        assert eyes.asked == {3: 1, 4: 1, 5: 2, 6: 1}
        # A replacement forgets what the old version said.
        await upload(server, base["id"], ("contract.md", TRAVEL), ids=f'["{item["id"]}"]')
        await settled(server, base["id"])
        assert "knowledge_transcripts" not in await canaries(dsn)


async def test_an_ocr_page_in_progress_is_stored_when_the_server_drains(
    dsn: str, tmp_path: Path, eyes: VisionModel
) -> None:
    """A restart does not pay for it again; pages that nobody had asked for are left to whoever comes next."""
    eyes.scripts = {page: {"first_delay": 1.0} for page in range(3, 12)}
    async with serving(dsn, tmp_path, ScriptedModel(), drain_seconds_max=20, **eyes.settings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("contract.pdf", scans(11)))
        async with asyncio.timeout(30):
            while len(eyes.asked) < 4:
                await asyncio.sleep(0.02)
    assert len(eyes.asked) == 4
    eyes.scripts = {}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        assert eyes.asked == dict.fromkeys(range(3, 12), 1)
        assert (await usage(server, "kind=ocr"))[0]["calls"] == 9


async def test_pictures_are_documents_of_one_page(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    eyes.scripts = {3: {"status": 400}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("scan.png", drawing(3)))
        [failed] = await settled(server, base["id"])
        assert (failed["status"], failed["error"]["code"]) == ("failed", "model_refused_request")
        eyes.scripts = {}
        await server.call("POST", f"/v1/knowledgebase-items/{failed['id']}/reprocess")
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        [hit] = await search(server, base["id"], f"{CANARY}3", mode="keyword", limit=1)
        assert (hit["metadata"]["page"], hit["metadata"]["ocr"]) == (1, True)


async def test_a_model_without_vision_is_an_error(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
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


async def test_each_page_is_on_the_bill_once(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    """A page that fails before the model says anything costs nothing; one that breaks off costs what was said, as an
    estimate."""
    eyes.scripts = {4: {"status": 400}, 5: {"cut": 1}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("contract.pdf", scans(6)))
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        assert [word in " ".join(done["warnings"]) for word in ("Page 4", "Page 5")] == [True, True]
        [row] = await usage(server, "group_by=kind,model,knowledgebase_id,project_id")
        assert (row["kind"], row["model"], row["knowledgebase_id"], row["project_id"]) == (
            "ocr",
            "eyes/scripted-vision",
            base["id"],
            base["project_id"],
        )
        assert (row["calls"], row["estimated_calls"], row["unpriced_calls"]) == (3, 1, 0)
        eyes.scripts = {}
        await server.call("POST", f"/v1/knowledgebase-items/{item['id']}/reprocess")
        await settled(server, base["id"])
        await server.call(
            "POST", f"/v1/knowledgebases/{base['id']}/reindex", 202, json={"chunking": {"characters_max": 600}}
        )
        async with asyncio.timeout(30):
            while (await server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"].get("reindex"):
                await asyncio.sleep(0.05)
        by_key = await usage(server, f"kind=ocr&knowledgebase_id={base['id']}&group_by=key_id")
        assert [(row["calls"], row["estimated_calls"]) for row in by_key] == [(5, 1)]
        assert await usage(server, "kind=run") == []
        [counted] = await usage(server, "group_by=kind")
        assert counted["cost_usd"] > 4.0
        assert counted["cached_tokens"] == 4 * 4
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]
        # What was spent stays, of the item and of the base; what for goes.
        await server.call("DELETE", f"/v1/knowledgebase-items/{item['id']}")
        assert (await usage(server, f"knowledgebase_id={base['id']}"))[0]["calls"] == 5
        gone = await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
        receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
        assert receipt["stores"]["model_calls"] == {"rows": 5, "bytes": 0, "anonymized": True}
        assert receipt["verified_at"]
        [left] = await usage(server, "group_by=kind,knowledgebase_id")
        assert (left["calls"], left["cost_usd"], "knowledgebase_id" in left) == (5, counted["cost_usd"], False)


async def test_a_page_that_was_asked_for_is_billed_though_its_base_is_gone(
    dsn: str, tmp_path: Path, eyes: VisionModel
) -> None:
    eyes.scripts = {3: {"first_delay": 0.5}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("contract.pdf", scans(3)))
        async with asyncio.timeout(30):
            while not eyes.asked:
                await asyncio.sleep(0.01)
            gone = await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
            while not (lines := await usage(server, "group_by=kind,knowledgebase_id")):
                await asyncio.sleep(0.05)
        assert [(line["calls"], line["cost_usd"], "knowledgebase_id" in line) for line in lines] == [(1, 1.0, False)]
        assert (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]["verified_at"]
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]
        assert await canaries(dsn) == []


async def test_a_key_that_has_spent_its_limit_reads_no_more_pages(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        key_id, limited = await key_of(server, spending_limit={"usd": 1.5, "period": "month"})
        async with limited:
            sent = await limited.post(
                f"/v1/knowledgebases/{base['id']}/upload", files=[("files", ("long.pdf", scans(11)))]
            )
            assert sent.status_code == 201
            [stopped] = await settled(server, base["id"])
            assert (stopped["status"], stopped["error"]["code"]) == ("failed", "spending_limit_reached")
            read = sum(eyes.asked.values())
            assert 2 <= read <= 5, "over by what is in flight, four at most"
            assert f"{read} of 9 pages without text are read and kept" in stopped["error"]["message"]
            assert re.search(
                r"has spent [2-5]\.0000 US dollars this month; its spending_limit is 1\.5\.",
                stopped["error"]["message"],
            )
            assert not stopped["searchable"]
            # The same key once more: nothing is asked.
            await limited.post(f"/v1/knowledgebase-items/{stopped['id']}/reprocess")
            assert [one["error"]["code"] for one in await settled(server, base["id"])] == ["spending_limit_reached"]
            assert sum(eyes.asked.values()) == read
            # Another key goes on where it stopped, at its own cost.
            assert (await server.call("POST", f"/v1/knowledgebases/{base['id']}/reprocess"))["items"] == 1
            [done] = await settled(server, base["id"])
            assert (done["status"], done.get("error")) == ("processed", None)
            assert set(eyes.asked.values()) == {1}
            assert sorted(eyes.asked) == list(range(3, 12))
            by_key = {row["key_id"]: row["calls"] for row in await usage(server, "kind=ocr&group_by=key_id")}
            assert by_key.pop(key_id) == read
            assert list(by_key.values()) == [9 - read]
            # What answers already is not failed for a page that nobody pays for: it is a warning.
            eyes.scripts = {3: {"status": 400}}
            again = await server.call(
                "POST", f"/v1/knowledgebases/{base['id']}/upload", 201, files=[("files", ("short.pdf", scans(3)))]
            )
            await settled(server, base["id"])
            short = again["data"][0]["id"]
            await limited.post(f"/v1/knowledgebase-items/{short}/reprocess")
            kept = next(one for one in await settled(server, base["id"]) if one["id"] == short)
            assert kept["status"] == "processed"
            assert "Page 3 could not be read by OCR (spending_limit_reached)" in " ".join(kept["warnings"])


async def test_a_limited_key_and_a_model_without_a_price(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), **{**eyes.settings, "prices": ()}) as server:
        base = await base_of(server)
        _, limited = await key_of(server, spending_limit=5)
        async with limited:
            await limited.post(f"/v1/knowledgebases/{base['id']}/upload", files=[("files", ("contract.pdf", scans(3)))])
            [stopped] = await settled(server, base["id"])
        assert (stopped["status"], stopped["error"]["code"]) == ("failed", "price_unknown")
        assert not eyes.asked
        await server.call("POST", f"/v1/knowledgebase-items/{stopped['id']}/reprocess")
        assert [one["status"] for one in await settled(server, base["id"])] == ["processed"]
        assert (await usage(server, "kind=ocr"))[0]["unpriced_calls"] == 1


async def test_ocr_off_sends_no_images_of_a_base(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server, ocr="off")
        assert base["ocr"] == "off"
        await upload(server, base["id"], ("contract.pdf", scans(4)), ("scan.png", drawing(5)))
        items = {item["name"]: item for item in await settled(server, base["id"])}
        assert items["contract.pdf"]["warnings"] == ["3 of 4 pages hold no text (scanned or empty): 2, 3, 4."]
        assert items["scan.png"]["error"]["code"] == "unsupported_format"
        assert not eyes.asked
        changed = (await server.call("PUT", f"/v1/knowledgebases/{base['id']}", json={"ocr": "auto"}))["data"]
        assert changed["ocr"] == "auto"
        await server.call("POST", f"/v1/knowledgebase-items/{items['contract.pdf']['id']}/reprocess")
        await settled(server, base["id"])
        assert eyes.asked == {3: 1, 4: 1}
        assert (await base_of(server))["ocr"] == "auto"


async def test_progress_never_goes_back(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    """Pages are done when what stands on them is known: those with text while the file is read, the others one by
    one."""
    eyes.scripts = {page: {"first_delay": 0.5} for page in range(3, 12)}
    told: list[tuple[int, int]] = []
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("contract.pdf", scans(11)))
        async with asyncio.timeout(60):
            while (shown := (await server.call("GET", f"/v1/knowledgebase-items/{item['id']}"))["data"])[
                "status"
            ] != "processed":
                if "pages" in shown.get("progress", {}):
                    told.append((shown["progress"]["pages"], shown["progress"].get("pages_total", 0)))
                await asyncio.sleep(0.05)
        assert (shown["progress"]["pages"], shown["progress"]["pages_total"]) == (11, 11)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {11}
    assert len(set(told)) >= 3, "it was seen to go on"
    assert told[0][0] < 7


async def test_a_tiff_is_a_document_of_its_pages(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    """The scanner's own format, black and white and packed as fax machines do."""
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("scan.tif", drawing(3, 4, 5, form="TIFF", mode="1", compression="group4")))
        [done] = await settled(server, base["id"])
        assert (done["status"], done["progress"]["pages"], done.get("warnings")) == ("processed", 3, None)
        assert (eyes.asked, eyes.kinds) == ({3: 1, 4: 1, 5: 1}, {"png": 3})
        [hit] = await search(server, base["id"], f"{CANARY}5", mode="keyword", limit=1)
        assert (hit["metadata"]["page"], hit["metadata"]["ocr"]) == (3, True)


async def test_scans_in_archives_are_read(dsn: str, tmp_path: Path, eyes: VisionModel) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("read me.md", TRAVEL)
        files.writestr("photos/a.jpg", drawing(7, form="JPEG"))
        files.writestr("photos/b.webp", drawing(8, form="WEBP"))
        files.writestr("scans/c.tif", drawing(9, 10, form="TIFF"))
        files.writestr("scans/d.pdf", scans(4))
        files.writestr("scans/broken.png", b"\x89PNG\r\n\x1a\n and then nothing")
    eyes.scripts = {9: {"status": 400}}
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("scans.zip", archive.getvalue()))
        [done] = await settled(server, base["id"])
        assert done["status"] == "processed"
        assert eyes.asked == dict.fromkeys((3, 4, 7, 8, 9, 10), 1)
        assert eyes.kinds == {"jpeg": 1, "webp": 1, "png": 4}
        said = " ".join(done["warnings"])
        assert "scans/broken.png is damaged" in said
        assert "scans/c.tif, page 1 could not be read by OCR (model_refused_request)" in said
        for page, place, heading in (
            (7, 1, "photos/a.jpg: Annex 7"),
            (10, 2, "scans/c.tif: Annex 10"),
            (4, 4, "scans/d.pdf: Annex 4"),
        ):
            [hit] = await search(server, base["id"], f"{CANARY}{page}", mode="keyword", limit=1)
            assert (hit["metadata"]["page"], hit["metadata"]["heading"], hit["metadata"]["ocr"]) == (
                place,
                heading,
                True,
            )
        assert (await search(server, base["id"], "hotel euros night", mode="keyword", limit=1))[0]["metadata"][
            "heading"
        ] == "read me.md: Travel"
        eyes.scripts = {}
        await server.call("POST", f"/v1/knowledgebase-items/{item['id']}/reprocess")
        await settled(server, base["id"])
        assert eyes.asked == {**dict.fromkeys((3, 4, 7, 8, 10), 1), 9: 2}


async def test_scans_in_office_files_are_read_where_there_is_no_text(
    dsn: str, tmp_path: Path, eyes: VisionModel
) -> None:
    letter, report = docx.Document(), docx.Document()
    ornament = io.BytesIO()
    Image.new("L", (20, 20)).save(ornament, "PNG")
    for picture in (drawing(3), ornament.getvalue(), drawing(4, form="JPEG"), drawing(5, form="TIFF")):
        letter.add_picture(io.BytesIO(picture))
    report.add_paragraph("The year was good.")
    report.add_picture(io.BytesIO(drawing(6)))
    deck = pptx.Presentation()
    for pages in ((7,), (8, 9)):
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        for page in pages:
            slide.shapes.add_picture(io.BytesIO(drawing(page)), 0, 0)
    async with serving(dsn, tmp_path, ScriptedModel(), **eyes.settings) as server:
        base = await base_of(server)
        for name, document in (("letter.docx", letter), ("report.docx", report), ("deck.pptx", deck)):
            made = io.BytesIO()
            document.save(made)
            await upload(server, base["id"], (name, made.getvalue()))
        items = {item["name"]: item for item in await settled(server, base["id"])}
        assert {item["status"] for item in items.values()} == {"processed"}
        assert eyes.asked == dict.fromkeys((3, 4, 5, 7, 8, 9), 1)
        assert items["deck.pptx"]["progress"]["pages"] == 2
        for page, source, number in ((4, "letter.docx", None), (5, "letter.docx", None), (9, "deck.pptx", 2)):
            [hit] = await search(server, base["id"], f"{CANARY}{page}", mode="keyword", limit=1)
            assert (hit["metadata"]["source"], hit["metadata"].get("page"), hit["metadata"]["ocr"]) == (
                source,
                number,
                True,
            )
        assert sources(await search(server, base["id"], "media image1.png", mode="keyword", limit=9)) == set(), (
            "where a picture lies is no text"
        )
