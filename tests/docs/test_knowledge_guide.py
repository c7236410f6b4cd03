"""The new user's path: the guide's shell as it stands, with a folder of real documents of many kinds."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.knowledge import HANDBOOK, SICK, TRAVEL
from tests.support.office_files import epub, sheet, slides, word_file, zipped
from tests.support.pages import ROOT, blocks, shell_of
from tests.support.processes import KEY, serve, url_of


def papers(folder: Path) -> None:
    folder.mkdir()
    (folder / "more").mkdir()
    (folder / "travel.md").write_bytes(TRAVEL)
    (folder / "more" / "sick.txt").write_bytes(SICK)
    (folder / "manual.pdf").write_bytes(HANDBOOK.read_bytes())
    (folder / "gadget.docx").write_bytes(word_file())
    (folder / "talk.pptx").write_bytes(slides())
    (folder / "prices.xlsx").write_bytes(sheet())
    (folder / "book.epub").write_bytes(epub())
    (folder / "mail.eml").write_bytes(b"From: a@example.org\nSubject: Keys\n\nThe keys hang behind the door.\n")
    (folder / "old.zip").write_bytes(zipped({"minutes.html": "<h1>Minutes</h1><p>We met on Monday.</p>"}))


def searches(printed: str) -> Iterator[dict[str, Any]]:
    """The answers of searches among what curl printed, one after the other without a line between them."""
    decoder, at = json.JSONDecoder(), 0
    while (at := printed.find('{"data":[', at)) >= 0:
        found, at = decoder.raw_decode(printed, at)
        if not found["data"] or "score" in found["data"][0]:
            yield found


@pytest.mark.timeout(120)
async def test_the_guide_works_when_pasted(room: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    papers(tmp_path / "papers")
    async with serve(room / "knowledge-guide", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        port = url_of(said).rsplit(":", 1)[1]
        shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/knowledge.md", "sh"))
        assert (shell.count("stoa_acc_…"), shell.count("localhost:8080")) == (1, 1)
        shell = shell.replace("stoa_acc_…", KEY).replace("localhost:8080", f"localhost:{port}")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *shell_of("knowledge.md"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "COLUMNS": "200"},
        )
        async with asyncio.timeout(100):
            out, errors = await process.communicate(shell.encode())
    printed = out.decode()
    assert process.returncode == 0, (errors.decode(), printed)
    assert "uploaded 9 files" in printed
    assert "processed 9, failed 0" in printed
    assert printed.count(" processed ") >= 9
    answers = list(searches(printed))
    assert "140 euros" in answers[0]["data"][0]["content"]
    assert answers[1]["data"][0]["metadata"]["source"] == "sick.txt"
    assert "event: run.completed" in printed
    assert "140 euros" in printed.partition("event: run.completed")[2].partition("\n\n")[0]
    assert "999 euros" in answers[-2]["data"][0]["content"]
    assert answers[-1]["data"] == []
    assert re.search(r'"kind":"knowledge_item".*"verified_at":"', printed)
    assert '"error"' not in printed
