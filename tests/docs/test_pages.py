"""Generated pages are current, and say something of every event type and run state."""

import re
import runpy
from pathlib import Path

from stoa.events import NAMES, TABLE, EventType

ROOT = Path(__file__).parents[2]


def test_run_states_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/run_states.py"))["page"]()
    assert (ROOT / "docs/run-states.md").read_text("utf-8") == page


def test_events_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/events.py"))["page"]()
    assert (ROOT / "docs/events.md").read_text("utf-8") == page


def test_every_event_is_described() -> None:
    assert set(TABLE) == set(EventType)
    described = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/events.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(NAMES.values())
