"""`POST /v1/ocr/parse` and `/v1/ocr/extract`: documents to Markdown and to JSON, by models of the catalogue."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from stoa.gateway.ocr.service import READ_PAGES_MAX
from stoa.settings import Price, Provider
from tests.conftest import Running, serving
from tests.support.bills import key_of
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.pictures import DOT
from tests.support.scans import CANARY, VisionModel, scans
from tests.support.scripted_model import ScriptedServer

GOLDEN = Path(__file__).parent / "golden" / "ocr.json"
SEES, READS = "eyes/scripted-vision", "eyes/scripted"
TEMPLATE = {"clause": "string", "pages": "integer", "parties": [{"name": "string"}]}
FILLED = {"clause": "three", "pages": 4, "parties": [{"name": "Ada"}]}
PAGE_1 = "The contract begins in March and names both parties."
PAGE_3 = f"# Annex 3\n\nClause 3 speaks of {CANARY}3."
PAGE_4 = f"# Annex 4\n\nClause 4 speaks of {CANARY}4."


class Models(VisionModel):
    """Reads pictures, and fills templates as `fills` says, one answer after the other."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__(server)
        self.fills: list[str] = [json.dumps(FILLED)]
        server.script = self.answer

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if "data:image/" in str(body):
            return self.look(body)
        return {"pieces": [self.fills.pop(0) if len(self.fills) > 1 else self.fills[0]]}


@pytest.fixture(scope="module")
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture
def models(scripted: ScriptedServer) -> Models:
    scripted.forget()
    return Models(scripted)


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, scripted: ScriptedServer) -> AsyncIterator[Running]:
    name = f"ocr_{uuid4().hex}"
    provider = Provider(name="eyes", type="openai", base_url=scripted.url, api_key=SecretStr("k"))
    prices = (Price(model="eyes/*", prompt=50_000, completion=250_000),)  # A page takes 10 tokens and 2: a dollar.
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel(), providers=(provider,), prices=prices
    ) as made:
        yield made


async def sent(
    server: Running, path: str, options: Any, content: bytes | None = None, name: str = "contract.pdf", **more: Any
) -> httpx.Response:
    client = more.pop("client", server.client)
    form = {"options": options if isinstance(options, str) else json.dumps(options)}
    files = {"file": (name, content if content is not None else scans(4))}
    return await client.post(f"/v1/ocr/{path}", data=form, files=files, **more)


async def lines(server: Running) -> list[dict[str, Any]]:
    database = await asyncpg.connect(server.dsn)
    rows = await database.fetch("SELECT * FROM model_calls ORDER BY id")
    await database.close()
    return [dict(row) for row in rows]


def extract_options(**more: Any) -> dict[str, Any]:
    options = {"ocr_llm": SEES, "structured_output_llm": READS, "template": json.dumps(TEMPLATE)}
    return {**options, **more}


# --- answers ----------------------------------------------------------------------------------------------------------
async def test_each_documented_exchange_to_the_byte(server: Running, models: Models) -> None:
    """`WRITE_DOCS=1` writes the file. A change of an answer is a change of the contract."""
    said = []
    for path, options in (
        ("parse", {"llm": SEES}),
        ("parse", {"llm": {"type": "dynamiq.nodes.llms.CustomLLM", "model": SEES}, "stream": True}),
        ("extract", extract_options()),
        ("extract", extract_options(stream=True)),
        ("parse", {"llm": "none/such"}),
        ("parse", {}),
        ("extract", extract_options(template="[1")),
    ):
        answered = await sent(server, path, options)
        kind = answered.headers["content-type"].partition(";")[0]
        said.append(
            {
                "request": f"POST /v1/ocr/{path}",
                "options": options,
                "status": answered.status_code,
                "content_type": kind,
                "answer": answered.text,
            }
        )
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("WRITE_DOCS"):
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8")


async def test_text_is_read_and_pictures_are_paid_for(server: Running, models: Models) -> None:
    before = len(await lines(server))
    answered = await sent(server, "parse", {"llm": SEES})
    assert answered.json() == {"data": {"text": f"{PAGE_1}\n\n{PAGE_3}\n\n{PAGE_4}"}}
    assert models.asked == {3: 1, 4: 1}  # Neither the page of text nor the empty one.
    bill = (await lines(server))[before:]
    assert [(one["kind"], one["model"], one["cost_usd"]) for one in bill] == [("gateway", SEES, 1)] * 2


async def test_a_picture_and_a_text_are_documents(server: Running, models: Models) -> None:
    before = len(await lines(server))
    text = "# Title\n\nNothing to see."
    answered = await sent(server, "parse", {"llm": READS}, text.encode(), "notes.md")
    assert answered.json() == {"data": {"text": text}}
    assert len(await lines(server)) == before
    models.scripts = {0: {"pieces": ["NO_TEXT"]}}
    answered = await sent(server, "parse", {"llm": SEES}, DOT, "dot.png")
    assert answered.json() == {"data": {"text": ""}}


async def test_a_template_that_was_not_filled_is_asked_for_once_more(server: Running, models: Models) -> None:
    models.fills = ['{"clause": 7}', f"```json\n{json.dumps(FILLED)}\n```"]
    answered = await sent(server, "extract", extract_options())
    assert answered.json() == {"data": FILLED}
    repaired = models.server.bodies[-1]["messages"]
    assert "does not fit" in repaired[-1]["content"]
    models.fills = ["no JSON at all"]
    answered = await sent(server, "extract", extract_options())
    assert (answered.status_code, answered.json()["error"]["code"]) == (502, "output_invalid")
    assert READS in answered.json()["error"]["message"]


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "options", "field"),
    [
        ("parse", "", "options"),
        ("parse", "{", "options"),
        ("parse", "[]", "options"),
        ("parse", {}, "options.llm"),
        ("parse", {"llm": 7}, "options.llm"),
        ("parse", {"llm": {"model": ""}}, "options.llm"),
        ("parse", {"llm": "none/such"}, "options.llm"),
        ("parse", {"llm": READS}, "options.llm"),  # It does not see.
        ("parse", {"llm": {"model": "m", "connection": str(uuid4())}}, "options.llm.connection"),
        ("parse", {"llm": SEES, "strem": True}, "options.strem"),
        ("parse", {"llm": SEES, "stream": "perhaps"}, "options.stream"),
        ("extract", {"ocr_llm": SEES, "template": "{}"}, "options.structured_output_llm"),
        ("extract", extract_options(template=TEMPLATE), "options.template"),
        ("extract", extract_options(template="{}"), "options.template"),
        (
            "extract",
            extract_options(template='{"type": "object", "properties": {"a": {"type": 7}}}'),
            "options.template",
        ),
        ("extract", extract_options(structured_output_llm="none/such"), "options.structured_output_llm"),
    ],
)
async def test_what_is_refused_is_named_and_costs_nothing(
    server: Running, models: Models, path: str, options: Any, field: str
) -> None:
    before = len(await lines(server))
    answered = await sent(server, path, options)
    error = answered.json()["error"]
    assert (answered.status_code, error["code"]) == (400, "bad_request"), answered.text
    assert list(error["details"]) == [field]
    assert len(await lines(server)) == before
    assert models.server.bodies == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_files_that_cannot_be_read(server: Running, models: Models, *, streamed: bool) -> None:
    for content, name in ((b"", "empty.pdf"), (b"%PDF-1.4 nothing", "broken.pdf"), (b"\0\1\2", "odd.bin")):
        answered = await sent(server, "parse", {"llm": SEES, "stream": streamed}, content, name)
        error = answered.json()["error"]
        assert (answered.status_code, list(error["details"])) == (400, ["file"]), answered.text
        assert name in error["message"]


async def test_a_document_has_so_many_pages(server: Running, models: Models) -> None:
    answered = await sent(server, "parse", {"llm": SEES}, scans(READ_PAGES_MAX + 3))
    assert answered.status_code == 400
    assert str(READ_PAGES_MAX) in answered.json()["error"]["details"]["file"]
    assert models.server.bodies == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_page_that_fails_is_no_text(server: Running, models: Models, *, streamed: bool) -> None:
    """An answer with a hole would pass for the whole."""
    models.scripts = {4: {"status": 400, "message": "no such picture"}}
    answered = await sent(server, "parse", {"llm": SEES, "stream": streamed})
    if not streamed:
        assert (answered.status_code, answered.json()["error"]["code"]) == (400, "bad_request")
        return
    *pages, end = answered.text.strip().split("\n\nevent: ")
    assert [json.loads(page.partition("data: ")[2])["page"] for page in pages] == [1, 2, 3]
    assert end.startswith("error\n")
    assert "no such picture" in json.loads(end.partition("data: ")[2])["error"]["message"]


async def test_the_key_pays_and_its_limit_holds(server: Running, models: Models) -> None:
    key_id, client = await key_of(server, spending_limit=2.5)
    async with client:
        options = {"llm": {"model": SEES, "max_tokens": 2}}
        refused = await sent(server, "parse", options, client=client)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "spending_limit_reached")
    _, reader = await key_of(server, permissions=["runs:read"])
    async with reader:
        assert (await sent(server, "parse", {"llm": SEES}, client=reader)).status_code == 403
    database = await asyncpg.connect(server.dsn)
    reserved = await database.fetchval("SELECT count(*) FROM key_reservations WHERE key_id::text = $1", key_id)
    await database.close()
    assert reserved == 0


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_disconnect_ends_the_calls(server: Running, models: Models, *, streamed: bool) -> None:
    """What was under way is on the bill; the pages behind it are not asked for; the file is gone."""
    before = len(await lines(server))
    models.scripts = {page: {"id": f"p{page}", "first_delay": 60} for page in range(3, 12)}
    asking = asyncio.create_task(sent(server, "parse", {"llm": SEES, "stream": streamed}, scans(11)))
    async with asyncio.timeout(10):
        while len(models.asked) < 4:
            await asyncio.sleep(0.01)
        asking.cancel()
        while any(models.server.log[f"p{page}"]["state"] != "aborted" for page in models.asked):
            await asyncio.sleep(0.01)
        while len(await lines(server)) < before + 4:
            await asyncio.sleep(0.01)
    assert len(models.asked) == 4
    assert all(line["estimated"] for line in (await lines(server))[before:])
