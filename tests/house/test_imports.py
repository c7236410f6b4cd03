"""No module of ours is in a circle of imports. Imports behind TYPE_CHECKING and inside functions count too: they hide a
circle from Python, not from a reader."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

SOURCE = Path(__file__).parents[2] / "src" / "stoa"
HEAVY = {
    "aiohttp",
    "jsonpath",
    "jsonschema_rs",
    "mcp",
    "mcp_types",
    "numpy",
    "obstore",
    "onnxruntime",
    "prometheus_client",
    "pydantic_settings",
    "tokenizers",
}
"""What is worth loading late (docs/decisions/0019): only these, and our own modules on top of them, are imported for
their types alone."""


@cache
def modules() -> Mapping[str, ast.Module]:
    found: dict[str, ast.Module] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("stoa", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return MappingProxyType(found)


@cache
def written(tree: ast.AST) -> tuple[tuple[str, str], ...]:
    """What a piece of code imports, as (module, name) from it; the name is empty where the module itself is."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return tuple(found)


def imported(tree: ast.AST, known: Mapping[str, ast.Module]) -> Iterator[str]:
    """The names of modules: of ours exactly, of others as they are written."""
    for module, name in written(tree):
        whole = f"{module}.{name}"
        yield whole if whole in known else module


def for_types_only(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from node.body


def circles(known: Mapping[str, ast.Module]) -> set[str]:
    """The modules that are in a circle, or between two: what is left when modules that import nothing that is left, and
    those that nothing left imports, are taken away until none is."""
    imports = {name: set(imported(tree, known)) & known.keys() - {name} for name, tree in known.items()}
    left = set(imports)
    while True:
        needed = {name for importer in left for name in imports[importer] & left}
        free = {name for name in left if name not in needed or not imports[name] & left}
        if not free:
            return left
        left -= free


def test_no_circles() -> None:
    assert circles(modules()) == set()


def test_a_circle_behind_type_checking_is_found() -> None:
    known = dict(modules())
    hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from stoa.journal.writer import JournalWriter\n"
    known["stoa.events.types"] = ast.parse(hidden)
    assert {"stoa.events.types", "stoa.journal.writer"} <= circles(known)


def test_only_what_is_heavy_is_imported_for_its_types_alone() -> None:
    known = modules()
    found = {
        (module, name)
        for module, tree in known.items()
        for statement in for_types_only(tree)
        for name in imported(statement, known)
        if name.split(".")[0] not in HEAVY | {"stoa"}
    }
    assert found == set()
