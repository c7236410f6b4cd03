"""Moving from Dynamiq: the shell of the page as it stands, the commands that it shows, and what it says is not here."""

import re
from pathlib import Path

import pytest

from stoa.http.unsupported import UNSUPPORTED
from tests.support.pages import ROOT, blocks
from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, serve, url_of

PAGE = ROOT / "docs/moving/dynamiq.md"


def test_what_is_not_here_is_the_table_that_the_server_answers_from() -> None:
    told = re.findall(r"^\| ([^|`]+) \| (`/v1[^|]+) \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    expected = [(one.name, ", ".join(f"`{path}`" for path in one.paths), one.instead) for one in UNSUPPORTED]
    assert told == expected


def test_the_commands_of_the_platform_were_run() -> None:
    """The package is too heavy for CI: bench/compat_dynamiq.py runs it, and this is what it printed."""
    printed = (ROOT / "bench/compat_dynamiq.txt").read_text("utf-8")
    assert printed.rstrip().endswith("0 failed")
    (shown,) = blocks(PAGE, "console")
    commands = re.findall(r"dynamiq [a-z-]+(?: [a-z-]+)?", shown)
    assert len(commands) >= 5
    assert [one for one in commands if f"{one} " not in printed] == []
    groups = re.findall(r"^\| (`.*?`) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {group for line in groups for group in re.findall(r"`([a-z-]+)`", line)}
    run = {line.split()[1] for line in printed.splitlines() if line.startswith("dynamiq ") and "|" in line}
    assert run <= named, "the page has a line for each group"


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "moving-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        changes = ("stoa_acc_…", KEY, 1), ("http://localhost:8080", url_of(said), 1)
        printed = await pasted("../moving/dynamiq.md", home, *changes)
    assert "review runs version 1" in printed
