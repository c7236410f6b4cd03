"""`stoa kb` against a server: what a person at a terminal sees."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from stoa.cli import asking
from tests.conftest import Running
from tests.support.terminal import Terminal


@pytest.fixture
def kb(shared_server: Running) -> Terminal:
    return Terminal(shared_server, "kb")


async def test_a_folder_goes_in_and_again_after_an_edit(kb: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("left out")
    (folder / "a.md").write_text("# Ants\n\nAnts live in hills.")
    (folder / "deep" / "b.txt").write_text("Bees live in hives.")
    base_id = (await kb("create", "Animals", "--description", "What lives where")).strip()
    assert "Animals" in await kb("list")
    said = await kb("upload", "Animals", str(folder))
    assert "uploaded 2 files" in said
    assert "processed 2, failed 0" in said
    assert "uploaded 0 files, 2 are as they were" in await kb("upload", base_id, str(folder))
    (folder / "a.md").write_text("# Ants\n\nAnts live in hills of sand.")
    (folder / "c.pdf").write_text("no pdf")
    (folder / "d.csv").write_text('a,b\n1,"x\n2,y\n')
    said = await kb("upload", "Animals", str(folder), status=1)
    assert "uploaded 3 files, 1 are as they were" in said
    assert "papers/c.pdf: c.pdf is not a PDF file" in said
    assert "processed 2, failed 1" in said
    assert "papers/d.csv: d.csv: the quote that opens in line 2 never closes." in said
    listed = await kb("items", "Animals")
    assert "the quote that opens in line 2 never closes." in listed
    assert [listed.count(name) for name in ("a.md", "b.txt", "c.pdf")] == [1, 1, 2], "replaced, not doubled"
    assert len(re.findall(r"[0-9a-f-]{36}", listed)) == 6, (
        "each id in full on a narrow screen, and that of the failed one and of the one that lost something again"
    )
    made = (await kb("create", "A [/b] base")).strip()
    assert f"{made}  A [/b] base" in await kb("list")
    found = await kb("search", "Animals", "where do ants live", "--explain", "--limit", "1")
    assert "hills of sand" in found
    assert "a.md" in found
    assert "1 items are processed again" in await kb("retry", "Animals")
    receipt = json.loads(await kb("delete", "Animals", "--yes"))
    assert receipt["stores"]["knowledge_items"]["rows"] == 4
    assert "There is no knowledge base named Animals" in await kb("search", "Animals", "ants", status=1)


async def test_an_upload_reports_what_is_wrong(kb: Terminal, tmp_path: Path) -> None:
    assert "Set STOA_KEY" in await kb("list", status=4, STOA_KEY="")
    assert "No server answers at http://127.0.0.1:9" in await kb("list", "--url", "http://127.0.0.1:9", status=3)
    assert "language is none of arabic, armenian" in await kb("create", "x", "--language", "klingon", status=1)
    await kb("create", "Twins")
    await kb("create", "Twins")
    assert "2 knowledge bases are named Twins; give the id" in await kb("items", "Twins", status=1)
    (tmp_path / "empty").mkdir()
    base_id = (await kb("create", "Empty")).strip()
    assert "There are no files to upload" in await kb("upload", base_id, str(tmp_path / "empty"), status=1)
    assert "nothing found" in await kb("search", base_id, "anything")
    for command in ("create", "list", "upload", "items", "retry", "search", "delete"):
        assert "Usage: " in await kb(command, "--help")


def test_progress_takes_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(asking, "errors", shown)
    with asking.bar() as progress:
        progress.add_task("[red]a[/b]: found 3")
        progress.refresh()
    assert isinstance(shown.file, io.StringIO)
    assert "[red]a[/b]: found 3" in shown.file.getvalue()
