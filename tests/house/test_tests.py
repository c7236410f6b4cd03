"""Tests stand alone: what several of them share lives in tests/support. They share what is dear to start."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ("tests.support", "tests.conftest")


def imported(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found += [node.module or ""]
            found += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "tests"]
    return found


def strangers(source: str, allowed: tuple[str, ...]) -> list[str]:
    return [
        name
        for name in imported(ast.parse(source))
        if name.startswith("tests.") and not any(name == ours or name.startswith(f"{ours}.") for ours in allowed)
    ]


@pytest.mark.parametrize("folder", ["tests", "bench", "tools"])
def test_only_what_is_shared_is_imported(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): names
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (names := strangers(path.read_text("utf-8"), SHARED))
    }
    assert not found, f"move what these import to tests/support: {found}"


def test_what_is_shared_does_not_need_the_fixtures() -> None:
    found = {
        str(path.relative_to(ROOT)): names
        for path in sorted((ROOT / "tests/support").rglob("*.py"))
        if (names := strangers(path.read_text("utf-8"), ("tests.support",)))
    }
    assert not found, found


def test_an_import_of_a_test_is_found() -> None:
    for line in ("from tests.http.test_tools import Service", "import tests.http.test_tools", "from tests import http"):
        assert strangers(line, SHARED), line


DATABASES_MAX = 10
OWN_DATABASES = {
    "tests/slice/index/test_index.py": (39, "counts whole tables, which must be empty at the end"),
    "tests/e2e/test_console.py": (14, "looks at lists of everything"),
    "tests/http/test_agents.py": (14, "each has tools of its own"),
    "tests/http/test_lists.py": (14, "each fills the lists to a count"),
    "tests/http/test_ocr.py": (14, "each has settings of its own, and counts all that was billed"),
    "tests/http/test_people.py": (16, "the same people join anew"),
    "tests/http/test_traces.py": (14, "looks at lists of everything"),
    "tests/slice/runs/test_claims.py": (12, "a claim takes any run that waits"),
    "tests/http/test_agent_edges.py": (11, "each has a model and tools of its own"),
    "tests/slice/runs/test_poisoned_runs.py": (11, "each has settings of its own"),
}
"""Modules of which more than DATABASES_MAX tests take a database of their own, and why they cannot share one."""


def test_modules_share_a_database_where_they_can(request: pytest.FixtureRequest) -> None:
    """A database of its own, with a server on it, is 0.3 s of CPU for each test (docs/decisions/0138)."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    own = Counter(item.nodeid.split("::", 1)[0] for item in items if "dsn" in item.fixturenames)
    found = {
        module: count for module, count in own.items() if count > OWN_DATABASES.get(module, (DATABASES_MAX, ""))[0]
    }
    assert not found, f"let them share a server (tests.support.running.shared), or say here why they cannot: {found}"
