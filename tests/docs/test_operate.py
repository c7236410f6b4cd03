"""The operator's page names every check of the doctor and every line of the log that is a warning or worse."""

import re
from pathlib import Path
from typing import Any, cast

from stoa import conversations, runs
from stoa import journal as journals
from stoa.knowledge import bases

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "operate.md").read_text("utf-8")
NODES_OWN = ("runs", "journal", "db", "doctor", "kernel", "http")


def test_every_check_stands_there() -> None:
    nothing = cast("Any", None)
    for check in [*journals.checks(nothing), *runs.checks(nothing), *conversations.checks(nothing, nothing), *bases.checks(nothing, nothing, nothing)]:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{check.name}` |"))
        assert f"| {check.promise} |" in row
        assert (row.split("|")[3].strip() != "") == (check.repair is not None), check.name


def test_every_warning_stands_there() -> None:
    said: set[str] = set()
    for folder in NODES_OWN:
        for path in (ROOT / "src" / "stoa" / folder).rglob("*.py"):
            said |= set(re.findall(r'_log\.(?:warning|error|exception)\(\s*"([^"]+)"', path.read_text("utf-8")))
    assert len(said) >= 8
    assert [line for line in said if f"`{line}`" not in PAGE] == []
