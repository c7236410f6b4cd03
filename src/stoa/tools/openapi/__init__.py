"""Converts an OpenAPI document, 3.0 or later, into one HTTP tool per operation. Pure.

A document is untrusted: only references within it are followed, and the size of an operation with resolved references
is limited. An operation that cannot be a tool is skipped and reported with the reason; the others are imported.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from stoa.kernel.errors import BadRequest
from stoa.tools import rules
from stoa.tools.openapi.operations import Operation, Skipped
from stoa.tools.openapi.text import storable
from stoa.tools.schemas import Document, Unusable
from stoa.tools.types import Imported, ImportRequest, Planned

OPERATIONS_MAX: Final = 3_000
YAML_CHARACTERS_MAX: Final = 2_000_000
"""YAML is read at about a megabyte a second; larger documents come as JSON."""
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_OTHER_METHODS: Final = ("head", "options", "trace", "query")
_CORE: Final = (
    ("merge", "<<", "<"),
    ("null", "null|Null|NULL|~|", "nN~\0"),
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)
"""Tag, pattern and first characters of the plain values that are not text."""


def plan(document: Mapping[str, Any] | str, request: ImportRequest) -> Imported:
    """Raises BadRequest for an unusable document or request."""
    root = _parsed(document) if isinstance(document, str) else dict(document)
    _check(root, request)
    wanted = set(request.operations) if request.operations is not None else None
    planned: dict[str, Planned] = {}
    skipped: list[tuple[str, str]] = []
    for title, names, made in _operations(root, request):
        if wanted is not None and not names & wanted:
            continue
        wanted = wanted - names if wanted is not None else None
        if isinstance(made, str):
            skipped.append((storable(title), storable(made)))
            continue
        if len(planned) == OPERATIONS_MAX:
            raise _refused("operations", f"must choose: the document has more than {OPERATIONS_MAX} operations")
        try:
            one = _distinct(made.planned(), planned)
        except Skipped as reason:
            skipped.append((storable(title), storable(str(reason))))
        except Unusable as error:
            skipped.append((storable(title), storable(f"{error.path} {error}")))
        except RecursionError:
            skipped.append((storable(title), "it is nested too deeply"))
        else:
            planned[one.new.name] = one
    if wanted:
        raise _refused("operations", f"name {', '.join(sorted(wanted)[:5])}, which the document does not have")
    if not planned and not skipped:
        raise _refused("document", "has no operations under paths")
    return Imported(list(planned.values()), skipped)


def _check(root: Mapping[str, Any], request: ImportRequest) -> None:
    version = str(root.get("openapi") or "")
    if not re.match(r"^3(\.[012])?(\.|$)", version):
        found = (
            f"OpenAPI {version}"
            if version
            else f"Swagger {root['swagger']}"
            if "swagger" in root
            else "a document without the field openapi"
        )
        raise _refused("document", f"must be OpenAPI 3.0, 3.1 or 3.2, not {found[:60]}")
    if request.base_url is not None and (problem := rules.url_problem(re.sub(r"[{}]", "", request.base_url))):
        raise _refused("base_url", problem)
    if not isinstance(root.get("paths") or {}, Mapping):
        raise _refused("document", "has paths that are no object")


def _operations(root: Mapping[str, Any], request: ImportRequest) -> Iterator[tuple[str, set[str], Operation | str]]:
    """Each operation's title, the names by which a request may select it, and the operation, or the reason to skip
    it."""
    document = Document(root)
    for path, held in (root.get("paths") or {}).items():
        if str(path).startswith("x-"):
            continue
        try:
            item = document.resolved(held, f"paths.{path}")
        except Unusable as error:
            yield str(path), {str(path)}, f"{error.path} {error}"
            continue
        for method, operation in _methods(item):
            title = f"{method.upper()} {path}"
            names = {title}
            if not isinstance(operation, Mapping) or not str(path).startswith("/"):
                yield title, names, "it must be an object under a path that begins with /"
                continue
            names.add(str(operation.get("operationId") or title))
            if method not in _METHODS:
                yield title, names, f"{method.upper()} is no method that a tool can have"
            else:
                yield title, names, Operation(root, request, str(path), method, item, operation)


def _methods(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A path's operations, in one order for all documents; their methods are read in any case."""
    more = item.get("additionalOperations")
    found = {str(name).lower(): value for name, value in item.items()}
    for method in (*_METHODS, *_OTHER_METHODS):
        if found.get(method) is not None:
            yield method, found[method]
    for name, value in more.items() if isinstance(more, Mapping) else ():
        yield str(name).lower(), value


def _distinct(made: Planned, others: Mapping[str, Planned]) -> Planned:
    """A unique name. The suffix depends on the operation only, so the same document gives the same names."""
    other = others.get(made.new.name)
    if other is None:
        return made
    name = rules.marked_name(made.new.name, made.operation)
    note = f"Named {name}, because {other.operation} is named {made.new.name} already."
    return replace(made, new=replace(made.new, name=name), notes=(*made.notes, note))


def _refused(path: str, reason: str) -> BadRequest:
    return BadRequest.field(storable(path), storable(reason))


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text.removeprefix("\ufeff"))
    except orjson.JSONDecodeError as not_json:
        if text.lstrip("\ufeff \t\r\n")[:1] == "{":
            raise _refused("document", f"is no JSON: {not_json.msg} (line {not_json.lineno})") from not_json
        if len(text) > YAML_CHARACTERS_MAX:
            raise _refused(
                "document", f"is YAML of more than {YAML_CHARACTERS_MAX} characters; send it as JSON"
            ) from not_json
        found = _yaml(text)
    if not isinstance(found, dict):
        raise _refused("document", "must be an object")
    return found


def _yaml(text: str) -> Any:
    """YAML 1.2's core schema, which OpenAPI prescribes: `on`, `no` and `2020-01-01` are text.

    PyYAML reads YAML 1.1, in which they are truth values and dates.
    """
    yaml = importlib.import_module("yaml")  # Here, because hardly any server needs it to start.
    loader = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in _CORE:
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refused("document", f"is neither JSON nor YAML: {' '.join(str(error).split())[:200]}") from error
