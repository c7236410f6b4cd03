"""The documentation at /docs: every page, every link, the search; nothing from elsewhere."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stoa.console.documentation import pages, rendering, search
from tests.conftest import Running
from tests.support.pages import ROOT

HTML = {"Accept": "text/html", "Authorization": ""}
MARKDOWN = [ROOT / "README.md", *(ROOT / path for path in sorted(pages.paths()))]
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(file: Path) -> Iterator[str]:
    text = CODE.sub(lambda code: "`x`" if code[0].count("`") == 2 else "", file.read_text("utf-8"))
    yield from (match[1] for match in re.finditer(r"\[(?:[^\]]*)\]\(([^)\s]+)\)", text))


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_work_in_the_repository(file: Path) -> None:
    """To files that are there, and to headings that are in them."""
    for link in links(file):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        found = (file.parent / place).resolve() if place else file
        assert found.exists(), link
        path = found.relative_to(ROOT).as_posix()
        if anchor and path in pages.paths():
            assert anchor in {one.anchor for one in pages.sections(path)}, link


@pytest.mark.parametrize("path", sorted(pages.paths()))
def test_every_page_is_shown_and_its_links_lead_somewhere(path: str) -> None:
    body = str(rendering.page(path).body)
    ids = set(re.findall(r'id="([^"]+)"', body))
    for address in re.findall(r'href="([^"]+)"', body):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        if not parts.path:
            assert parts.fragment in ids, address
        elif parts.path.startswith("/docs"):
            assert parts.path in pages.by_address() or parts.path == "/docs/reference", address
    assert "<script" not in body
    assert " style=" not in body
    assert "<style" not in body


def test_every_page_is_in_the_index() -> None:
    listed = {address for group in pages.navigation() for _, address in group.links}
    unlisted = {pages.address(path) for path in pages.paths() if not path.startswith("docs/decisions/0")}
    left_out = {"/docs", "/docs/decisions/template", "/docs/handbook/handbook"}
    assert unlisted - listed - left_out == set()


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("approval", "/docs/guide/agents"),
        ("command line exit codes", "/docs/guide/command-line"),
        ("resume a stream", ""),
        ("STOA_DATABASE_URL", ""),
        ("langgraph", "/docs/moving/langgraph"),
        ("permiss", "/docs/permissions"),
    ],
)
def test_the_search_finds(query: str, page: str) -> None:
    found = search.search(query)
    assert found, query
    assert any(one.address.startswith(page) for one in found[:5]), [one.address for one in found[:5]]
    for one in found:
        assert one.address.partition("#")[0] in pages.by_address()


def test_hostile_queries_find_nothing_and_take_no_time() -> None:
    began = time.monotonic()
    for query in ("", "   ", "<script>alert(1)</script>", "a" * 100_000, "\0", "((((", "é🌍", "a " * 10_000):
        search.search(query)
    assert time.monotonic() - began < 5


async def test_pages_over_http(shared_server: Running) -> None:
    client = shared_server.client
    home = await client.get("/docs", headers=HTML)
    assert (home.status_code, home.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in home.headers["content-security-policy"]
    assert "unsafe" not in home.headers["content-security-policy"]
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in home.text
    assert 'href="/docs/reference"' in home.text
    for address in set(re.findall(r'(?:src|href)="(/[^"#]+)', home.text)):
        if address != "/":
            assert (await client.get(address, headers=HTML)).status_code == 200, address
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', home.text), "nothing from elsewhere"
    found = await client.get("/docs/search", params={"q": 'lease"><img src=x>'}, headers=HTML)
    assert found.status_code == 200
    assert "<img" not in found.text
    assert "<mark>" in found.text
    missing = await client.get("/docs/guide/nothing", headers=HTML)
    assert (missing.status_code, "There is no such page" in missing.text) == (404, True)
    assert (await client.get("/docs/guide/agents/", headers=HTML)).headers["location"] == "/docs/guide/agents"
    for hostile in ("/docs/..%2f..%2fpyproject.toml", "/docs/../../etc/passwd", "/docs/%00", "/docs//evil.example/"):
        answer = await client.get(hostile, headers=HTML)
        assert answer.status_code in (308, 400, 404), hostile
        assert not answer.headers.get("location", "").startswith("//"), hostile
    assert (await client.head("/docs")).status_code == 200
    assert (await client.post("/docs")).status_code == 405
    german = await client.get("/docs", headers={**HTML, "Accept-Language": "de"})
    assert "Dokumentation durchsuchen" in german.text


def test_pictures_are_current() -> None:
    import runpy  # noqa: PLC0415 — for this test alone

    wanted = runpy.run_path(str(ROOT / "tools/docs/pictures.py"))["files"]()
    assert {path: path.read_text("utf-8") for path in wanted} == wanted, "run python tools/docs/pictures.py"
