"""Tests stand alone: what several of them share lives in tests/support."""

import ast
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
