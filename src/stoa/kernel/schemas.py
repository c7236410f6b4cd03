"""JSON schemas: whether one is usable, and whether a value or a text satisfies it. Nothing is ever fetched. Pure.

Schemas and values are untrusted, so the expressions of `pattern` run on an engine with linear time, or with a bounded
number of steps if they use look-around or back-references.
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
    """Where and why a value does not match: `$.items[2].price "x" is not of type "number"`; None if it does."""
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
    """The text without the Markdown code fence in which models often wrap JSON."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3].strip()
    return stripped


def _validator(schema: Mapping[str, Any]) -> "jsonschema_rs.Validator":
    """Raises ValueError for an invalid schema, an external reference, and too deep nesting."""
    import jsonschema_rs  # noqa: PLC0415 — the server starts without it

    return jsonschema_rs.validator_for(
        dict(schema),
        offline=True,
        validate_formats=False,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS_MAX),
    )


def expression_problem(expression: str) -> str | None:
    """Why this is no regular expression with linear time (without look-around and back-references), or None."""
    try:
        _expression(expression)
    except ValueError:
        return "is no regular expression that takes linear time: it may not look around or back"
    return None


def matches(expression: str, text: str) -> bool:
    """Whether the expression, which was checked before, matches somewhere in the text. Linear time."""
    return _expression(expression).is_valid(text)


def _expression(expression: str) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # noqa: PLC0415

    options = jsonschema_rs.RegexOptions(size_limit=EXPRESSION_BYTES_MAX, dfa_size_limit=EXPRESSION_BYTES_MAX)
    schema = {"pattern": expression}
    return jsonschema_rs.validator_for(schema, offline=True, validate_formats=False, pattern_options=options)


def _located(error: ValueError) -> str:
    """The error with its path; of several failed alternatives the one that matched furthest."""
    import jsonschema_rs  # noqa: PLC0415

    if not isinstance(error, jsonschema_rs.ValidationError):  # Nested deeper than the library supports.
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
