"""A node of a JSON schema in Gemini's subset; its children are in it already. One type each, no `allOf`, nothing beside
`anyOf`, no list of properties that is empty. What the subset cannot say is left out, and checked by us. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_KEPT: Final = frozenset({
    "type", "description", "title", "enum", "items", "properties", "required", "anyOf", "nullable", "minimum",
    "maximum", "minItems", "maxItems", "minLength", "maxLength", "pattern", "default",
})  # fmt: skip # a table
_OF_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required"}),
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum"}),
    "integer": frozenset({"minimum", "maximum"}),
}
"""Which keywords belong to which type alone."""


def in_subset(node: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema, as Gemini takes it."""
    made = _merged(node)
    if "const" in made:
        made["enum"] = [made["const"]]
    if "oneOf" in made:
        made["anyOf"] = made["oneOf"]
    _one_type(made)
    _without_null(made)
    _enumerated(made)
    _objects_and_arrays(made)
    if "type" not in made and "anyOf" not in made:
        made["type"] = "object" if "properties" in made else "string"
    made = {name: value for name, value in made.items() if name in _KEPT}
    return _alone(made) if "anyOf" in made else made


def _merged(node: Mapping[str, Any]) -> dict[str, Any]:
    """`allOf` as one schema: what its branches ask for is asked for together."""
    made = dict(node)
    for branch in _list(made.pop("allOf", None)):
        properties = {**_object(branch.get("properties")), **_object(made.get("properties"))}
        required = dict.fromkeys([*_list(made.get("required")), *_list(branch.get("required"))])
        made = {**branch, **made}
        made |= {"properties": properties} if properties else {}
        made |= {"required": list(required)} if required else {}
    return made


def _one_type(made: dict[str, Any]) -> None:
    """Several types become several branches, each with the keywords of its type."""
    types = made.get("type")
    if not isinstance(types, list):
        return
    named = [one for one in types if one != "null"]
    if len(named) < len(types):
        made["nullable"] = True
    if len(named) < 2 or "anyOf" in made:
        made["type"] = named[0] if named else "string"
        return
    of_types = frozenset[str]().union(*_OF_TYPE.values())
    branches: list[dict[str, Any]] = []
    for one in named:
        kept = {name: value for name, value in made.items() if name in _OF_TYPE.get(one, ())}
        branch = in_subset({**kept, "type": one})
        branches.append(branch)
    for name in [*of_types & made.keys(), "type"]:
        del made[name]
    made["anyOf"] = branches


def _without_null(made: dict[str, Any]) -> None:
    """A branch of `null` is said by `nullable`; one branch that remains is the schema itself."""
    ways = _list(made.get("anyOf"))
    others = [one for one in ways if one.get("type") != "null"]
    if not others or (len(others) == len(ways) and len(ways) > 1):
        return
    if len(others) < len(ways):
        made["nullable"] = True
    if len(others) == 1:
        del made["anyOf"]
        made |= {**others[0], **{name: made[name] for name in ("description", "title") if name in made}}
    else:
        made["anyOf"] = others


def _enumerated(made: dict[str, Any]) -> None:
    """Only text may be enumerated, and none of it empty: other values are told in words."""
    values = made.get("enum")
    if not isinstance(values, list):
        return
    if "type" not in made and (kind := _kind_of(values)):
        made["type"] = kind
    if made.get("type", "string") != "string":
        told = ", ".join(str(one) for one in made.pop("enum")[:50])
        made["description"] = f"{made.get('description', '')} One of: {told}.".strip()
        return
    made["enum"] = [one for one in values if isinstance(one, str) and one]
    if not made["enum"]:
        del made["enum"]


def _kind_of(values: Sequence[Any]) -> str | None:
    """The type that all values have."""
    for kind, types in (
        ("boolean", bool),
        ("integer", int),
        ("number", (int, float)),
        ("object", dict),
        ("array", list),
    ):
        if values and all(isinstance(one, types) for one in values):
            return kind
    return None


def _objects_and_arrays(made: dict[str, Any]) -> None:
    properties = _object(made.get("properties"))
    if "properties" in made and not properties:
        del made["properties"]
    if "required" in made:
        made["required"] = [name for name in _list(made["required"]) if name in properties]
        if not made["required"]:
            del made["required"]
    if made.get("type") == "array" and not made.get("items"):
        made["items"] = {"type": "string"}


def _alone(made: Mapping[str, Any]) -> dict[str, Any]:
    """A union with nothing beside it: what was said of all its branches is said of each."""
    beside = {name: made[name] for name in ("description", "nullable") if name in made}
    return {"anyOf": [{**beside, **branch} for branch in _list(made["anyOf"])]}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
