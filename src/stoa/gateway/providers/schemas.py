"""Foreign JSON schemas as a provider takes them. What is loosened here is still checked by us, against the schema as it
was. Pure."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from stoa.gateway.providers.demands import Demands
from stoa.gateway.providers.gemini_schemas import in_subset
from stoa.gateway.providers.well_formed import well_formed

DEPTH_MAX: Final = 40
NODES_MAX: Final = 2_000
_UNIONS: Final = ("anyOf", "oneOf", "allOf")
_DROPPED: Final = frozenset({"$schema", "$id", "$comment", "examples", "example"})
_MAPS: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS: Final = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties"}
)
_STRICT_UNKNOWN: Final = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties",
    "unevaluatedProperties",
    "propertyNames", "contains", "prefixItems", "uniqueItems", "default", "$dynamicRef", "minContains", "maxContains",
    "minLength", "maxLength", "minProperties", "maxProperties",
})  # fmt: skip # what OpenAI refuses in a strict schema


_STRICT_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)


class Unusable(ValueError):
    """The schema cannot be made into one that the provider takes; the message ends a sentence."""


def tool_parameters(schema: Mapping[str, Any], demands: Demands) -> dict[str, Any]:
    """An object with properties at the top, without unions there, and arrays that have items. Raises Unusable."""
    try:
        return dict(_prepared(orjson.dumps(schema), demands))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable("its schema holds what JSON cannot") from error


@lru_cache(maxsize=1_024)
def _prepared(encoded: bytes, demands: Demands) -> dict[str, Any]:
    """Made once per schema and provider: the same tools are offered with each reply."""
    schema = well_formed(orjson.loads(encoded))
    if "$ref" in schema:
        schema = {
            **_resolved(schema, schema),
            **{name: schema[name] for name in ("$defs", "definitions") if name in schema},
        }
    top = _Walk(schema, demands).walked({name: value for name, value in schema.items() if name not in _UNIONS})
    top = {
        "type": "object",
        **{name: value for name, value in top.items() if name not in ("type", *_UNIONS, "not", "enum", "const")},
    }
    merged = _merged(schema, _Walk(schema, demands))
    top["properties"] = {**merged.properties, **_object(top.get("properties"))}
    required = [
        name for name in dict.fromkeys([*merged.required, *_names(top.get("required"))]) if name in top["properties"]
    ]
    top.pop("required", None)
    if required:
        top["required"] = required
    if merged.note:
        top["description"] = f"{top.get('description', '')} {merged.note}".strip()
    _without_unsafe(top, demands)
    return top


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode takes it, where it can say the same; None where it cannot: an optional
    property, say."""
    if schema.get("type") != "object" or any(name in schema for name in _UNIONS):
        return None
    try:
        return _strict(schema, schema, 0)
    except _NotStrict:
        return None


class _NotStrict(Exception):
    pass


def _strict(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or not schema or depth > 9 or _STRICT_UNKNOWN & schema.keys():
        raise _NotStrict
    made = {name: value for name, value in schema.items() if name not in _DROPPED}
    if isinstance(made.get("$ref"), str) and len(made) > 1:  # Nothing may stand beside a reference but its definitions.
        beside = {name: value for name, value in made.items() if name != "$ref"}
        return _strict({**_object(_target(root, made["$ref"])), **beside}, root, depth + 1)
    if str(schema.get("format", "date")) not in _STRICT_FORMATS:
        raise _NotStrict
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or set(_names(schema.get("required"))) != set(properties):
            raise _NotStrict
        if schema.get("additionalProperties") not in (None, False):
            raise _NotStrict
        made |= {"type": "object", "additionalProperties": False}
        made["properties"] = {name: _strict(value, root, depth + 1) for name, value in properties.items()}
    if schema.get("type") == "array" or "items" in schema:
        made["items"] = _strict(schema.get("items"), root, depth + 1)
    if "anyOf" in schema:
        made["anyOf"] = [_strict(one, root, depth + 1) for one in schema["anyOf"] or ()]
    for name in ("$defs", "definitions"):
        if name in schema:
            made[name] = {key: _strict(value, root, depth + 1) for key, value in _object(schema[name]).items()}
    if not made.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        raise _NotStrict
    return made


class _Walk:
    """One pass over a schema, with bounds."""

    def __init__(self, root: Mapping[str, Any], demands: Demands) -> None:
        self._root = root
        self._plain = demands.plain_schemas
        self._nodes = 0

    def walked(self, schema: Any, depth: int = 0, refs: tuple[str, ...] = ()) -> dict[str, Any]:
        """Raises Unusable."""
        self._nodes += 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise Unusable("its schema is too large")
        if not isinstance(schema, dict):  # `true` and `false` are schemas too.
            return {}
        schema = well_formed(schema)
        if self._plain and isinstance(ref := schema.get("$ref"), str):
            if ref in refs:
                return {"type": "object"}
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            return self.walked({**_object(_target(self._root, ref)), **beside}, depth + 1, (*refs, ref))
        made = {name: self._member(name, value, depth, refs) for name, value in schema.items() if name not in _DROPPED}
        types = made.get("type")
        if _arrays(types) and "items" not in made and "prefixItems" not in made:
            made["items"] = {}
        return in_subset(made) if self._plain else made

    def _member(self, name: str, value: Any, depth: int, refs: tuple[str, ...]) -> Any:
        if name in _MAPS and isinstance(value, dict):
            return {key: self.walked(one, depth + 1, refs) for key, one in value.items()}
        if name in _LISTS and isinstance(value, list):
            return [self.walked(one, depth + 1, refs) for one in value]
        if name in _SCHEMAS and isinstance(value, dict):
            return self.walked(value, depth + 1, refs)
        return value


class _Merged:
    """What the unions at a schema's top say of its properties."""

    def __init__(self) -> None:
        self.properties: dict[str, Any] = {}
        self.required: list[str] = []
        self.note = ""


def _merged(schema: Mapping[str, Any], walk: _Walk) -> _Merged:
    """All properties of all branches; those that each way asks for are required, and the rest is told in words."""
    merged, ways = _Merged(), list[str]()
    for union in _UNIONS:
        branches = [_resolved(branch, schema) for branch in _list(schema.get(union))[:50]]
        if not branches:
            continue
        asked = [set(_names(branch.get("required"))) for branch in branches]
        for branch in branches:
            for name, value in _object(branch.get("properties")).items():
                merged.properties.setdefault(name, walk.walked(value, 1))
        if union == "allOf":
            merged.required += [name for one in branches for name in _names(one.get("required"))]
            continue
        merged.required += sorted(set.intersection(*asked))
        if any(one != asked[0] for one in asked) or not any("properties" in branch for branch in branches):
            ways += [", ".join(sorted(one)) for one in asked if one]
    if ways:
        merged.note = "Give the arguments of one of these sets: " + "; or ".join(dict.fromkeys(ways)) + "."
    return merged


def _without_unsafe(top: dict[str, Any], demands: Demands) -> None:
    """Leaves out optional properties whose names the provider refuses. Raises Unusable for a required one."""
    unsafe = [name for name in top["properties"] if not re.fullmatch(demands.property_names, name, re.DOTALL)]
    for name in unsafe:
        if name in top.get("required", ()):
            raise Unusable(f"its parameter {name!r} has a name that the provider refuses")
        del top["properties"][name]


def _arrays(types: Any) -> bool:
    return types == "array" or (isinstance(types, list) and "array" in types)


def _resolved(branch: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(branch, dict) and isinstance(ref := branch.get("$ref"), str):
        branch = _target(root, ref)
    return branch if isinstance(branch, dict) else {}


def _target(root: Mapping[str, Any], ref: str) -> Any:
    """What a reference within the schema leads to; anything where it leads nowhere."""
    held: Any = root
    if not ref.startswith("#"):
        return {}
    for step in ref.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        held = held.get(name) if isinstance(held, dict) else None
    return held


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _names(value: Any) -> list[str]:
    return [name for name in _list(value) if isinstance(name, str)]
