"""Generated pages are current, and say something of every event type and run state."""

import re
import runpy
from pathlib import Path

from stoa.access.rules import PERMISSIONS
from stoa.events import NAMES, TABLE, EventType
from tests.conftest import Running

ROOT = Path(__file__).parents[2]
PERMISSIONS_PAGE = runpy.run_path(str(ROOT / "tools/docs/permissions.py"))


def test_run_states_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/run_states.py"))["page"]()
    assert (ROOT / "docs/run-states.md").read_text("utf-8") == page


def test_events_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/events.py"))["page"]()
    assert (ROOT / "docs/events.md").read_text("utf-8") == page


def test_formats_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/formats.py"))["page"]()
    assert (ROOT / "docs/guide/formats.md").read_text("utf-8") == page


def test_permissions_are_current() -> None:
    assert (ROOT / "docs/permissions.md").read_text("utf-8") == PERMISSIONS_PAGE["page"]()


def test_every_permission_is_in_the_list_and_opens_something() -> None:
    asked = {permission for permission, _, _ in PERMISSIONS_PAGE["routes"]()}
    assert asked == set(PERMISSIONS)
    written = {
        permission
        for path in (ROOT / "src/stoa").rglob("*.py")
        for permission in re.findall(r'"([a-z]+:(?:read|write))"', path.read_text("utf-8"))
    }
    assert written <= set(PERMISSIONS), "a permission that no key can have"


async def test_every_route_names_its_permission(shared_server: Running) -> None:
    """But those that are open to everybody, and the operator's."""
    document = await shared_server.document()
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    named = {(method, path) for _, method, path in PERMISSIONS_PAGE["routes"]()}
    open_to_all = {("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics"), ("POST", "/v1/invitations/accept")}
    open_to_all |= {("POST", "/v1/hooks/{secret}"), ("GET", "/v1/shared/{secret}")}
    connecting = {one for one in documented if one[1].startswith("/v1/connect/")}  # Their token stands for a user.
    assert documented - named - connecting == open_to_all


def test_every_event_is_described() -> None:
    assert set(TABLE) == set(EventType)
    described = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/events.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(NAMES.values())


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = re.findall(
        r"^\| (\d+) \| \[([^]]+)\]\((\d{4}-[\w-]+\.md)\) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert [file for _, _, file in index] == sorted(path.name for path in folder.glob("[0-9]*.md"))
    for number, title, file in index:
        first = (folder / file).read_text("utf-8").splitlines()[0]
        assert re.fullmatch(rf"# 0*{number}[.:] {re.escape(title)}", first), file


def test_the_changes_name_few_files_and_all_exist() -> None:
    """`CONTRIBUTING.md` is right about where things live."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = page.partition("## How to add")[2].partition("What a new route")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith(("| a ", "| an ", "| another "))]
    assert len(rows) == 13
    for what, files, then in rows:
        named = re.findall(r"`([\w./]+(?:\.py|\.sql))`", files)
        assert len(named) <= 5, what
        for file in named:
            assert ("/" not in file and file != "settings.py") or (ROOT / "src/stoa" / file).exists(), file
        for file in re.findall(r"`((?:docs|tests|tools)/[\w./-]+)`", then):
            assert (ROOT / file).exists(), file


def test_fast_paths_name_what_exists() -> None:
    page = (ROOT / "docs/fast-paths.md").read_text("utf-8")
    for file in re.findall(r"`([\w/]+\.(?:py|onnx))`", page):
        assert (ROOT / file).exists() or (ROOT / "src/stoa" / file).exists(), file
