"""Converts the template of `/v1/ocr/extract` to a JSON schema. Pure.

A template is a JSON schema of an object, or an object whose keys are the fields and whose values describe them:

    {"store": "string", "total": "number", "items": [{"name": "string", "price": "number"}], "due": "date of payment"}
"""

from collections.abc import Mapping
from typing import Any, Final

from stoa.kernel.errors import BadRequest

FIELD: Final = "options.template"
FIELDS_MAX: Final = 500
DEPTH_MAX: Final = 10
DESCRIPTION_CHARACTERS_MAX: Final = 2_000
_TYPES: Final[Mapping[str, str]] = {
    "string": "string", "str": "string", "text": "string", "number": "number", "float": "number", "decimal": "number",
    "integer": "integer", "int": "integer", "boolean": "boolean", "bool": "boolean",
}  # fmt: skip # a table
_JSON_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def schema_of(template: Any) -> Mapping[str, Any]:
    """The schema of the answer. Fields of a description may be null, because a document may lack them.

    Raises BadRequest naming `options.template`.

    """
    if not isinstance(template, dict):
        raise BadRequest.field(FIELD, "must be an object, as a string that holds JSON")
    if not template:
        raise BadRequest.field(FIELD, "names no field")
    if _is_schema(template):
        if template.get("type", "object") != "object":
            raise BadRequest.field(FIELD, "must be the schema of an object")
        return {"type": "object", **template}
    count = _fields(template)
    if count > FIELDS_MAX:
        raise BadRequest.field(FIELD, f"has {count} fields; at most {FIELDS_MAX} are filled")
    return _object(template, 1)


def _is_schema(template: Mapping[str, Any]) -> bool:
    if "$schema" in template or "$defs" in template:
        return True
    kind = template.get("type")
    return isinstance(template.get("properties"), dict) and (kind is None or kind in _JSON_TYPES)


def _fields(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_fields(one) for one in value.values())
    return sum(_fields(one) for one in value) if isinstance(value, list) else 0


def _object(fields: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _field(value, depth + 1, name) for name, value in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def _field(value: Any, depth: int, name: str) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise BadRequest.field(FIELD, f"is nested more than {DEPTH_MAX} levels deep at {name[:100]}")
    match value:
        case dict():
            return _object(value, depth)
        case list():
            if len(value) > 1:
                raise BadRequest.field(FIELD, f"describes several kinds of items in {name[:100]}; name one")
            return {"type": "array", "items": _field(value[0], depth + 1, name) if value else {"type": "string"}}
        case str():
            return _described(value)
        case bool():
            return {"type": ["boolean", "null"]}
        case int():
            return {"type": ["integer", "null"]}
        case float():
            return {"type": ["number", "null"]}
        case _:
            return {"type": ["string", "null"]}


def _described(text: str) -> dict[str, Any]:
    """The schema of a field from `number` or another type, or from a description in words."""
    known = _TYPES.get(text.strip().lower())
    if known is not None:
        return {"type": [known, "null"]}
    made: dict[str, Any] = {"type": ["string", "null"]}
    if text.strip():
        made["description"] = text[:DESCRIPTION_CHARACTERS_MAX]
    return made
