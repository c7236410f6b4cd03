"""Sizes, names and habits. What is over a bound is looked at again; what must be over it stands here with its
reason."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "stoa"
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
ROOM_SHARE_MAX = 0.25
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
BROAD = {
    "doctor/service.py",
    "http/edge.py",
    "kernel/supervise.py",
    "kernel/telemetry.py",
    "db/leases.py",
    "runs/driving.py",
    "documents/converting/worker.py",
    "sources/worker.py",
    "tools/providers/python.py",
    "tools/providers/mcp/session.py",
}
"""The edges at which bugs end: the HTTP middleware, the supervisor, the log, the driver of runs, the kit of leased jobs
and its syncs, the doctor's checks, the process that reads one document; and the two modules that run code of others."""
NOT_OURS = {".git", ".venv", "dist", ".stoa", ".pytest_cache", ".ruff_cache"}
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS = {
    ("bases/component.py", "open_component"): "builds one slice, a line for each part",
    ("runs/component.py", "open_component"): "builds one slice, a line for each part",
}


@cache
def modules() -> list[tuple[str, str]]:
    return [(str(path.relative_to(SOURCE)), path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))]


def test_files_and_functions_are_short() -> None:
    for name, text in modules():
        assert text.count("\n") <= LINES_MAX or name in LONG_FILES, f"{name} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                # A file of routes is one function that holds many.
                allowed = node.name.endswith("routes") or (name, node.name) in LONG_FUNCTIONS
                assert lines <= FUNCTION_LINES_MAX or allowed, f"{name}: {node.name} has {lines} lines"


def test_no_package_is_too_large() -> None:
    lines = Counter[str]()
    for name, text in modules():
        lines[Path(name).parts[0]] += text.count("\n")
    room, most = lines.most_common(1)[0]
    share = most / lines.total()
    assert share < ROOM_SHARE_MAX, f"{room} is {share:.0%} of the code; make it two rooms"


def test_no_module_is_called_utils_or_helpers() -> None:
    for name, _ in modules():
        assert not DRAWERS & set(Path(name).with_suffix("").parts), name


def test_broad_excepts_stand_at_the_edges() -> None:
    for name, text in modules():
        if re.search(r"except (Base)?Exception\b(?! as \w+:\s*#)|except:", text) and name not in BROAD:
            found = [
                line.strip() for line in text.splitlines() if re.search(r"except (Base)?Exception\b|except:", line)
            ]
            assert all("BaseException" in line for line in found), f"{name}: {found}"


def files_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in NOT_OURS:
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.is_file():
            yield path


def test_no_path_of_a_developers_machine_is_committed() -> None:
    for path in files_below(ROOT):
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sql", ".yaml"} or path.name in {"Makefile", "run"}:
            text = path.read_text("utf-8", "replace")
            assert str(ROOT.parent) + "/" not in text or str(ROOT.parent) == "/", path
