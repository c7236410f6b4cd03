"""Generated pages are current; the page of events names every event that there is, and no other."""

import re
import runpy
from pathlib import Path

from stoa.events import NAMES

ROOT = Path(__file__).parents[2]


def test_run_states_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/run_states.py"))["page"]()
    assert (ROOT / "docs/run-states.md").read_text("utf-8") == page


def test_formats_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/formats.py"))["page"]()
    assert (ROOT / "docs/guide/formats.md").read_text("utf-8") == page


def test_every_event_is_described() -> None:
    described = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/events.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(NAMES.values())
