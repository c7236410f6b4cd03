"""What a run's input is made of: `input_transformer {path, selector}` over the payload of an event. Pure.

`path` chooses a part of the payload by JSONPath; `selector` makes the fields of the input, each a JSONPath into that
part, or a value as it stands.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

EXPRESSION_CHARACTERS_MAX: Final = 500
MATCHES_MAX: Final = 1_000
_STEP: Final = r"""\.\.?[\w-]+|\.\*|\[(?:-?\d{1,9}|\*|'[^'\\]*'|"[^"\\]*")\]"""
_PATH: Final = re.compile(rf"[$@](?:{_STEP}){{0,32}}")
"""Names, indexes and `*`: no filter, whose regular expression could take for ever over what a stranger sends."""


class NotFound(ValueError):
    """The payload has nothing at a path. The message names it."""


def problem(expression: str) -> str | None:
    """Why this is no JSONPath that is taken here, or None."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        return f"is longer than {EXPRESSION_CHARACTERS_MAX} characters"
    if expression.count("..") > 1:
        return "searches at every depth more than once, which takes too long"
    if not _PATH.fullmatch(expression):
        return "is no JSONPath of names, indexes and * such as $.issue.labels[0]"
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
    matches = [one.obj for one in islice(_parsed(path).finditer(value), MATCHES_MAX)] if _holds(value) else []
    if not matches and path in ("$", "@"):
        return value
    if not matches:
        raise NotFound(f"The payload has nothing at {path}.")
    return matches[0] if len(matches) == 1 else matches


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


@lru_cache(1_000)
def _parsed(expression: str) -> Any:
    import jsonpath  # noqa: PLC0415 — the server starts without it

    return jsonpath.compile("$" + expression[1:] if expression[:1] == "@" else expression)
