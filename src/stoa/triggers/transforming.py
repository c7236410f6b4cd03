"""Builds a run's input from an event's payload: `input_transformer {path, selector}`. Pure.

`path` selects a part of the payload by JSONPath; `selector` defines the fields of the input, each a JSONPath into that
part, or a literal value.
"""

from collections.abc import Mapping
from typing import Any

from stoa.kernel.json_paths import PathError, compiled, is_rooted


class NoInput(Exception):
    """The payload has nothing at a path, or too much. The message names the path."""


def problem(expression: str) -> str | None:
    """Why this is no supported JSONPath, or None; the sentence continues after the field's name."""
    try:
        compiled(expression)
    except PathError as error:
        return str(error)
    return None


def is_path(value: Any) -> bool:
    """`$`, `$.a`, `@[0]`: not `$5` and not `@channel`, which are texts."""
    return isinstance(value, str) and is_rooted(value)


def transformed(transformer: Mapping[str, Any] | None, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the run's input. Raises NoInput."""
    if transformer is None:
        return dict(payload)
    part: Any = payload
    if path := transformer.get("path"):
        part = _found(path, payload)
    selector: Mapping[str, Any] | None = transformer.get("selector")
    if selector is None:
        return dict(part) if isinstance(part, dict) else {"input": part}
    return {name: _found(value, part) if is_path(value) else value for name, value in selector.items()}


def _found(path: str, value: Any) -> Any:
    """The one match, or a list of several."""
    try:
        matches = compiled(path).all(value)
    except PathError as error:
        raise NoInput(f"The path {error}.") from error
    if not matches:
        raise NoInput(f"The payload has nothing at {path}.")
    return matches[0] if len(matches) == 1 else matches
