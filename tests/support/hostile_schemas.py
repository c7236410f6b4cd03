"""JSON schemas that cost more than they seem to."""

from typing import Any


def doubling(levels: int, keyword: str = "anyOf") -> dict[str, Any]:
    """Each definition names the one before it twice: 2 ** levels paths in a few bytes a level."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels):
        definitions[f"d{level}"] = {keyword: [{"$ref": f"#/$defs/d{level - 1}"}] * 2}
    return {"$defs": definitions, "$ref": f"#/$defs/d{levels - 1}"}


def recursive_branches() -> dict[str, Any]:
    """Small, and exponential in the depth of the value: no bound on the schema alone helps."""
    again = {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["b"]}
    return {"$defs": {"n": {"anyOf": [again, again, {"type": "null"}]}}, "$ref": "#/$defs/n"}


def deep(levels: int) -> Any:
    value: Any = 5
    for _ in range(levels):
        value = {"a": value}
    return value
