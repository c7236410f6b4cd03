#!/usr/bin/env python3
"""Writes docs/permissions.md from the list in stoa.access.rules and the routes' own code:
`python tools/docs/permissions.py > docs/permissions.md`."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from stoa.access.rules import ORG_ROLES, PERMISSIONS, PROJECT_ROLES

SOURCE = Path(__file__).parents[2] / "src" / "stoa"
HOSTS = {
    "bases/host.py": "the base's host: ",
    "dialects/completions/api.py": "the router's host: ",
    "dialects/responses/api.py": "the router's host: ",
    "dialects/responses/conversations_api.py": "the router's host: ",
    "requirements/host.py": "the app's host: ",
    "runs/host.py": "the app's host: ",
}
METHODS = {"get", "post", "put", "patch", "delete"}
_PERMISSION = re.compile(r"""["']([a-z]+:[a-z]+)["']""")


def routes() -> list[tuple[str, str, str]]:
    """(permission, method, path) of every route that asks the gate, as the code of its slice's `api` or `host` says
    it."""
    found: list[tuple[str, str, str]] = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body if "gate" in text else ():
            if isinstance(node, ast.FunctionDef):
                prefix = HOSTS.get(str(path.relative_to(SOURCE)), "")
                found += [(asked, method, prefix + route) for asked, method, route in _of(node)]
    return found


def _of(function: ast.FunctionDef) -> list[tuple[str, str, str]]:
    named: dict[str, list[str]] = {}
    found: list[tuple[str, str, str]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _PERMISSION.search(ast.unparse(node.value)):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            names = re.findall(r"\w+", ast.unparse(node.targets[0]))
            named |= {name: _PERMISSION.findall(ast.unparse(value)) for name, value in zip(names, values, strict=True)}
        elif isinstance(node, ast.AsyncFunctionDef) and not node.decorator_list and "gate.admit(" in ast.unparse(node):
            named[node.name] = _PERMISSION.findall(ast.unparse(node))  # A dependency of routes.
    for node in ast.walk(function):
        if isinstance(node, ast.AsyncFunctionDef):
            asked = _permissions(node, named)
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
                    method, path = decorator.func.attr, decorator.args[0] if decorator.args else None
                    if method in METHODS and isinstance(path, ast.Constant):
                        shown = re.sub(r":\w+}", "}", str(path.value))
                        found += [(permission, method.upper(), shown) for permission in asked]
    return found


def _permissions(route: ast.AsyncFunctionDef, named: dict[str, list[str]]) -> list[str]:
    text = ast.unparse(route.args)
    if "gate(" in text:
        return _PERMISSION.findall(text)
    found = [one for name, ones in named.items() if re.search(rf"\b{name}\b", text) for one in ones]
    return found or (_PERMISSION.findall(ast.unparse(route)) if "gate.admit(" in ast.unparse(route) else [])


def page() -> str:
    by_permission: dict[str, set[str]] = defaultdict(set)
    for permission, method, path in routes():
        where, _, route = path.rpartition(": ")
        by_permission[permission].add(f"{where + ': ' if where else ''}`{method} {route}`")
    return (
        "\n".join(
            [
                "# Permissions",
                "",
                "Written by `python tools/docs/permissions.py` from `PERMISSIONS` in `stoa.access.rules` and from",
                "the routes; a test keeps it current. `POST /v1/access-keys` takes them as `permissions`. A key",
                "without that field has all permissions of its scope. Reading and writing are separate: a key that may",
                "only write cannot read. No key can give more than it has.",
                "",
                "| permission | opens |",
                "|---|---|",
                *(f"| `{permission}` | {', '.join(sorted(by_permission[permission]))} |" for permission in PERMISSIONS),
                "",
                "## Roles",
                "",
                (
                    "Users, and their personal access tokens, hold roles (`ORG_ROLES` and `PROJECT_ROLES` in "
                    "the same module)."
                ),
                (
                    "An owner or admin of the organization holds a permission in every project. A member holds "
                    "those of the column"
                ),
                (
                    "`member` on the organization itself; in an internal project a member is an editor unless "
                    "the project lists the"
                ),
                (
                    "member with another role, and a private project exists only for those whom it lists, "
                    "owners and admins."
                ),
                "",
                "| permission | owner | admin | member | project admin | editor | viewer |",
                "|---|---|---|---|---|---|---|",
                *(_row_of_roles(permission) for permission in PERMISSIONS),
            ]
        )
        + "\n"
    )


def _row_of_roles(permission: str) -> str:
    held = list(ORG_ROLES.values())
    held += [PROJECT_ROLES[role] for role in reversed(PROJECT_ROLES)]
    return f"| `{permission}` | {' | '.join('yes' if permission in granted else '' for granted in held)} |"


if __name__ == "__main__":
    print(page(), end="")
