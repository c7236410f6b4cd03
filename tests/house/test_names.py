"""No dead names: whatever a module defines at its top is used somewhere in the product, or by a tool."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "stoa"
CALLED_BY_OTHERS = {
    "__getattr__",  # by Python, for what is imported late
}


def defined(tree: ast.Module) -> list[str]:
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # A decorated function is registered by its decorator: a command, a route.
            found += [] if node.decorator_list and not isinstance(node, ast.ClassDef) else [node.name]
        elif isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append(node.target.id)
    return [name for name in found if name not in CALLED_BY_OTHERS and not name.startswith("__")]


def test_every_name_is_used() -> None:
    files = [
        *SOURCE.rglob("*.py"),
        *(ROOT / "tools").rglob("*.py"),
        *(ROOT / "src").rglob("*.toml"),
        ROOT / "pyproject.toml",
    ]
    words = Counter(word for path in files for word in re.findall(r"\w+", path.read_text("utf-8")))
    dead = [
        f"{path.relative_to(SOURCE)}: {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name in defined(ast.parse(path.read_text("utf-8")))
        if words[name] < 2
    ]
    assert not dead, "remove these, or use them"
