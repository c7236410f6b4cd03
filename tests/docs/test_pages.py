"""Generated pages are current; the page of events names every event that there is, and no other."""

import re
import runpy
from pathlib import Path

from stoa.access.rules import PERMISSIONS
from stoa.events import NAMES
from tests.conftest import Running

ROOT = Path(__file__).parents[2]
PERMISSIONS_PAGE = runpy.run_path(str(ROOT / "tools/docs/permissions.py"))


def test_run_states_are_current() -> None:
    page = runpy.run_path(str(ROOT / "tools/docs/run_states.py"))["page"]()
    assert (ROOT / "docs/run-states.md").read_text("utf-8") == page


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
    document = await shared_server.call("GET", "/openapi.json")
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    named = {(method, path) for _, method, path in PERMISSIONS_PAGE["routes"]()}
    open_to_all = {("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics")}
    assert documented - named == open_to_all


def test_every_event_is_described() -> None:
    described = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/events.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(NAMES.values())
