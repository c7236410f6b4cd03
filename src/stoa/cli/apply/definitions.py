"""Reads definitions from YAML files and validates them. Makes no calls."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

KINDS: Final = ("bases", "tools", "apps")
_VARIABLE: Final = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")
APP_FIELDS: Final = {"name", "description", "access", "workflow", "agent", "flow", "flow_ui"}
WORKFLOW_CHARACTERS: Final = re.compile(r"[^a-z0-9]+")


class DefinitionError(Exception):
    """A file cannot be applied. The message names the file and says what to change."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """The wanted objects in the API's format, by name. Sources are by (base, name)."""

    bases: Mapping[str, Mapping[str, Any]]
    sources: Mapping[tuple[str, str], Mapping[str, Any]]
    tools: Mapping[str, Mapping[str, Any]]
    apps: Mapping[str, Mapping[str, Any]]


def read(files: Sequence[tuple[str, str]], environment: Mapping[str, str] = os.environ) -> Definitions:
    """Takes (name, text) of each file. Raises DefinitionError."""
    bases: dict[str, Mapping[str, Any]] = {}
    sources: dict[tuple[str, str], Mapping[str, Any]] = {}
    tools: dict[str, Mapping[str, Any]] = {}
    apps: dict[str, Mapping[str, Any]] = {}
    for file, text in files:
        for document in _documents(file, text):
            if unknown := set(document) - set(KINDS):
                raise DefinitionError(f"{file}: {min(map(str, unknown))!r} is none of {', '.join(KINDS)}.")
            for base in _objects(file, document, "bases"):
                name = _put(
                    file, "base", bases, {key: value for key, value in base.items() if key != "sources"}, environment
                )
                for source in _objects(file, base, "sources"):
                    _put(file, f"source of {name}", sources, source, environment, below=name)
            for tool in _objects(file, document, "tools"):
                _put(file, "tool", tools, tool, environment)
            for app in _objects(file, document, "apps"):
                _check_app(file, app)
                _put(file, "app", apps, app, environment)
    return Definitions(bases, sources, tools, apps)


def load(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Reads the files, and the YAML files in directories. Raises DefinitionError."""
    found: list[Path] = []
    for path in paths:
        found += sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
    if not found:
        raise DefinitionError("There is no file that ends in .yaml or .yml.")
    return [(str(path), _text(path)) for path in found]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DefinitionError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{path} is no text in UTF-8: its byte {error.start + 1} is none.") from error


def workflow_name(app: Mapping[str, Any]) -> str:
    """The name of the app's workflow, which has only lower-case letters, digits and hyphens."""
    return str(app.get("workflow") or WORKFLOW_CHARACTERS.sub("-", str(app["name"]).lower()).strip("-"))


def flow_of(app: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", app["flow"] if "flow" in app else {"agent": app["agent"]})


def _documents(file: str, text: str) -> list[Mapping[str, Any]]:
    import yaml  # noqa: PLC0415 — for this command alone

    try:
        found: list[object] = list(yaml.load_all(text, Loader=_loader()))
    except yaml.YAMLError as error:
        raise DefinitionError(f"{file} is no YAML: {error}") from error
    for document in found:
        if document is not None and not isinstance(document, dict):
            raise DefinitionError(f"{file}: at its top stand {', '.join(KINDS)}.")
    return [cast("Mapping[str, Any]", document) for document in found if document is not None]


def _loader() -> Any:
    """YAML's safe loader, except that a duplicate key is an error, and a date stays a string."""
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1 and key != "<<"]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} comes twice", node.start_mark)
        loader.flatten_mapping(node)
        return {
            loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
            for key, value in node.value
        }

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_scalar)
    return Loader


def _objects(file: str, document: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    found = document.get(kind)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in cast("list[object]", found)):
        raise DefinitionError(f"{file}: {kind} is a list of objects, each with a name.")
    return cast("list[Mapping[str, Any]]", found)


def _put(
    file: str,
    kind: str,
    into: dict[Any, Mapping[str, Any]],
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    below: str | None = None,
) -> str:
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        raise DefinitionError(f"{file}: a {kind} has no name. Put a name that is a number or yes/no in quotes.")
    at = name if below is None else (below, name)
    if at in into:
        raise DefinitionError(f"{file}: there are two definitions of the {kind} {name}.")
    into[at] = cast("Mapping[str, Any]", _filled(file, given, environment))
    return name


def _filled(file: str, value: object, environment: Mapping[str, str]) -> object:
    """Replaces `${NAME}` by the environment variable. `$${NAME}` becomes `${NAME}`."""
    if isinstance(value, dict):
        return {str(key): _filled(file, one, environment) for key, one in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_filled(file, one, environment) for one in cast("list[object]", value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[1]:
            return f"${{{match[2]}}}"
        if match[2] not in environment:
            raise DefinitionError(f"{file} takes {match[2]} from the environment, and it is not set.")
        return environment[match[2]]

    return _VARIABLE.sub(fill, value)


def _check_app(file: str, app: Mapping[str, Any]) -> None:
    name = app.get("name")
    if unknown := set(app) - APP_FIELDS:
        raise DefinitionError(
            f"{file}: {min(map(str, unknown))!r} of the app {name} is none of {', '.join(sorted(APP_FIELDS))}."
        )
    if ("agent" in app) == ("flow" in app) or not isinstance(app.get("agent", app.get("flow")), dict):
        raise DefinitionError(f"{file}: the app {name} has either an agent or a flow.")
    if app.get("access", "private") not in ("private", "public"):
        raise DefinitionError(f"{file}: access of the app {name} is private or public.")
