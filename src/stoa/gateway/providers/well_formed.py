"""Corrects common mistakes of untrusted JSON schemas, which providers refuse: `required: true` in a property,
`properties: []` of PHP, `type: "str"`. Pure.

A wrong value is corrected if its meaning is clear, and otherwise left out: the schema then demands less, never
something else."""

from collections.abc import Callable, Mapping
from typing import Any, Final

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_MEANT: Final[Mapping[str, str]] = {
    "str": "string", "text": "string", "date": "string", "datetime": "string", "uuid": "string",
    "int": "integer", "int32": "integer", "int64": "integer", "long": "integer",
    "float": "number", "double": "number", "decimal": "number",
    "bool": "boolean", "list": "array", "tuple": "array", "set": "array",
    "dict": "object", "map": "object", "none": "null",
}  # fmt: skip # a table


def well_formed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, whose keywords have values of the types that JSON schema gives them. What lies below is not looked
    at."""
    made: dict[str, Any] = {}
    for name, value in schema.items():
        check = _KEYWORDS.get(name)
        if check is None:
            made[name] = value
        elif (held := check(value)) is not None:
            made[name] = held
    if isinstance(given := made.get("items"), list):  # A schema for each place: any of them may stand anywhere.
        made["items"] = {"anyOf": given} if len(given) > 1 else given[0] if given else {}
    return made


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else None


def _schema(value: Any) -> Any:
    return value if isinstance(value, dict | bool) else None


def _items(value: Any) -> Any:
    if isinstance(value, list):
        return [one for one in value if isinstance(one, dict | bool)]
    return _schema(value)


def _schemas(value: Any) -> Any:
    found = [one for one in value if isinstance(one, dict | bool)] if isinstance(value, list) else []
    return found or None


def _names(value: Any) -> Any:
    return [one for one in dict.fromkeys(value) if isinstance(one, str)] if _hashable(value) else None


def _hashable(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(one, dict | list) for one in value)


def _choices(value: Any) -> Any:
    return value if isinstance(value, list) and value else None


def _type(value: Any) -> Any:
    if isinstance(value, list):
        found = list(dict.fromkeys(one for one in map(_type, value) if isinstance(one, str)))
        return found or None
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    return name if name in _TYPES else _MEANT.get(name)


_KEYWORDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("description", "title", "pattern", "format", "$ref"), _text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _number),
    **dict.fromkeys(
        (
            "minLength", "maxLength", "minItems", "maxItems",
            "minProperties", "maxProperties", "minContains", "maxContains",
        ),
        _count,
    ),
    **dict.fromkeys(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"), _object),
    **dict.fromkeys(("additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"), _schema),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _schemas),
    "items": _items,
    "required": _names,
    "enum": _choices,
    "type": _type,
}  # fmt: skip # a table
