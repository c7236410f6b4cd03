"""JSON schemas: whether one is usable, and whether a value or a text satisfies it. Nothing is ever fetched. Pure.

A schema and what it judges come from strangers, so the expressions of `pattern` run on an engine that takes linear
time, or, where they look around or back, a bounded number of steps.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import jsonschema_rs

STEPS_MAX: Final = 100_000
"""Of a regular expression that needs backtracking; some milliseconds."""
EXPRESSION_BYTES_MAX: Final = 1_000_000
"""Of a compiled regular expression."""


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why this is no usable JSON schema, or None."""
    try:
        _validator(schema)
    except ValueError as error:
        return f"is no usable JSON schema: {_located(error)}"
    return None


def value_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Where and why a value is not what was asked for: `$.items[2].price "x" is not of type "number"`; None when it
    is."""
    try:
        validator = _validator(schema)
    except ValueError as error:
        return f"$ cannot be checked: {_located(error)}"
    try:
        validator.validate(value)
    except ValueError as error:
        return _located(error)
    return None


def unfenced(text: str) -> str:
    """Models like to wrap JSON in a Markdown fence."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3].strip()
    return stripped


def _validator(schema: Mapping[str, Any]) -> "jsonschema_rs.Validator":
    """Raises ValueError for what the meta-schema refuses, what refers outside of itself and what is nested too
    deeply."""
    import jsonschema_rs  # noqa: PLC0415 — the server starts without it

    return jsonschema_rs.validator_for(
        dict(schema),
        offline=True,
        validate_formats=False,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS_MAX),
    )


def expression_problem(expression: str) -> str | None:
    """Why this is no regular expression that takes linear time (nothing that looks around or back), or None."""
    try:
        _expression(expression)
    except ValueError:
        return "is no regular expression that takes linear time: it may not look around or back"
    return None


def matches(expression: str, text: str) -> bool:
    """Whether the expression finds something in the text, in linear time. It has been checked before."""
    return _expression(expression).is_valid(text)


def _expression(expression: str) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # noqa: PLC0415

    options = jsonschema_rs.RegexOptions(size_limit=EXPRESSION_BYTES_MAX, dfa_size_limit=EXPRESSION_BYTES_MAX)
    schema = {"pattern": expression}
    return jsonschema_rs.validator_for(schema, offline=True, validate_formats=False, pattern_options=options)


def _located(error: ValueError) -> str:
    """With the path of what failed; of several alternatives that all failed, the one that came furthest says most."""
    import jsonschema_rs  # noqa: PLC0415

    if not isinstance(error, jsonschema_rs.ValidationError):  # Nested deeper than the library goes.
        return str(error)[:300]
    while isinstance(
        error.kind, jsonschema_rs.ValidationErrorKind.AnyOf | jsonschema_rs.ValidationErrorKind.OneOfNotValid
    ):
        inner = [one for branch in error.kind.context for one in branch]
        deeper = max(inner, key=lambda one: len(one.instance_path), default=None)
        if deeper is None or len(deeper.instance_path) <= len(error.instance_path):
            break
        error = deeper
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    return f"${path} {error.message[:300]}"
