"""What a run's input is made of: `input_transformer {path, selector}` over the payload of an event. Pure.

`path` chooses a part of the payload by JSONPath; `selector` makes the fields of the input, each a JSONPath into that
part, or a value as it stands.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

EXPRESSION_CHARACTERS_MAX: Final = 500


class NotFound(ValueError):
    """The payload has nothing at a path. The message names it."""


def problem(expression: str) -> str | None:
    """Why this is no JSONPath that is taken here, or None."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        return f"is longer than {EXPRESSION_CHARACTERS_MAX} characters"
    if expression.count("..") > 1:
        return "searches at every depth more than once, which takes too long"
    try:
        _parsed(expression)
    except ValueError as error:
        return f"is no JSONPath: {str(error)[:200]}"
    return None


def is_path(value: Any) -> bool:
    """`$`, `$.a`, `@[0]`: not `$5` and not `@channel`, which are texts."""
    return isinstance(value, str) and value[:1] in ("$", "@") and (len(value) == 1 or value[1] in ".[")


def transformed(transformer: Mapping[str, Any] | None, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the run's input. Raises NotFound."""
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
    matches = [one.value for one in _parsed(path).find(value)]
    if not matches:
        raise NotFound(f"The payload has nothing at {path}.")
    return matches[0] if len(matches) == 1 else matches


@lru_cache(1_000)
def _parsed(expression: str) -> Any:
    """Raises ValueError."""
    from jsonpath_ng.exceptions import JSONPathError  # noqa: PLC0415 — 110 ms of every start
    from jsonpath_ng.parser import parse  # noqa: PLC0415 — the same

    try:
        return parse("$" + expression[1:] if expression[:1] == "@" else expression)
    except JSONPathError as error:
        raise ValueError(str(error)) from error
