"""JSON schemas: whether one is usable, and whether a value or a text satisfies it. Nothing is ever fetched. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why this is no usable JSON schema, or None."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 — the server starts without it
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415

    try:
        validator_for(dict(schema), default=Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        return f"is no JSON schema: {error.message[:200]}"
    return None


def output_problem(text: str, schema: Mapping[str, Any]) -> str | None:
    """Where and why an answer is not what was asked for: `$.items[2].price is not of type 'number'`; None when it is."""
    try:
        value = orjson.loads(unfenced(text))
    except orjson.JSONDecodeError as error:
        return f"$ is no JSON ({error.msg} at character {error.pos})"
    return value_problem(value, schema)


def value_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """The same for a value."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 — the server starts without it
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    # The registry holds nothing and fetches nothing: a schema that refers to a URL is refused, not followed.
    validator = validator_for(dict(schema), default=Draft202012Validator)(dict(schema), registry=Registry[Any]())
    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable as unresolvable:
        return f"$ cannot be checked: the schema refers to {unresolvable}"
    except RecursionError:
        return "$ cannot be checked: the schema refers to itself without end"
    return f"{error.json_path} {error.message[:300]}" if error else None


def unfenced(text: str) -> str:
    """Models like to wrap JSON in a Markdown fence."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3].strip()
    return stripped
