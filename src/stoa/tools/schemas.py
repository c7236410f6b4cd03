"""Schemas of an OpenAPI document as self-contained JSON schemas: references resolved within limits, cycles kept.

Pure.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

NODES_MAX: Final = 5_000
"""Schemas of one operation: a few mutual references can expand to billions."""
DEPTH_MAX: Final = 48
_SCHEMAS: Final = (
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
_PLAIN: Final = frozenset(
    {
        "type",
        "enum",
        "const",
        "default",
        "format",
        "title",
        "description",
        "required",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
        "dependentRequired",
        "contentMediaType",
        "contentEncoding",
        "examples",
    }
)
"""Everything else (xml, discriminator, example, extensions …) is useless to a model."""
_MISSING: Final = object()


class Unusable(Exception):
    """A part of the document cannot be used; `path` names it within its operation, the message continues after it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class Document:
    """Resolves the references of one operation within its document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self._local: list[Mapping[str, Any]] = []
        """The schemas around the present one that have definitions of their own."""
        self._cyclic: dict[str, bool] = {}
        """References that lead back to themselves, and whether only what is written counts."""

    def resolved(self, value: Any, place: str) -> Mapping[str, Any]:
        """An object of the document, its references followed."""
        for _ in range(DEPTH_MAX):
            if not isinstance(value, Mapping):
                raise Unusable(place, "must be an object")
            reference = value.get("$ref")
            if reference is None:
                return value
            value = self._at(reference, place)
        raise Unusable(place, "refers to itself without end")

    def unfolded(self, schema: Any, place: str, *, writing: bool = False) -> Any:
        """A schema with resolved references; recursive ones stay, with their targets in `definitions`."""
        return self._unfold(schema, place, (), writing)

    def definitions(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while missing := [reference for reference in self._cyclic if _name(reference) not in made]:
            for reference in missing:
                made[_name(reference)] = self._unfold(
                    self._at(reference, reference), reference, (reference,), self._cyclic[reference]
                )
        return made

    def _at(self, reference: Any, place: str) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise Unusable(
                place,
                f"refers to {str(reference)[:100]!r}, which is outside of the document; "
                "only local references are followed",
            )
        # Many documents hold schemas of other tools as they are, whose references begin at the schema.
        for root in (self._root, *reversed(self._local)):
            found = _pointed(root, reference[2:])
            if found is not _MISSING:
                return found
        raise Unusable(place, f"refers to {reference[:100]}, which the document does not have")

    def _unfold(self, schema: Any, place: str, stack: tuple[str, ...], writing: bool) -> Any:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise Unusable(place, f"unfolds to more than {NODES_MAX} schemas")
        if place.count(".") + place.count("[") > 2 * DEPTH_MAX or len(stack) > DEPTH_MAX:
            raise Unusable(place[:200], "is nested too deeply")
        if isinstance(schema, bool):
            return schema
        if schema is None or schema == []:  # What some generators write for an empty object.
            return {}
        if not isinstance(schema, Mapping):
            raise Unusable(place, "must be a schema")
        if (reference := schema.get("$ref")) is not None:
            return self._followed(schema, reference, place, stack, writing)
        if "$defs" in schema or "definitions" in schema:
            self._local.append(schema)
        made = {key: value for key, value in schema.items() if key in _PLAIN}
        made |= {key: self._unfold(schema[key], f"{place}.{key}", stack, writing) for key in _SCHEMAS if key in schema}
        made |= {key: self._listed(schema[key], f"{place}.{key}", stack, writing) for key in _LISTS if key in schema}
        made |= {key: self._named(schema[key], f"{place}.{key}", stack, writing) for key in _NAMED if key in schema}
        if isinstance(made.get("required"), list) and isinstance(
            given := schema.get("properties"), Mapping
        ):  # Read-only properties are not arguments.
            made["required"] = [
                name
                for name in made["required"]
                if isinstance(name, str) and (name in made["properties"] or name not in given)
            ]
        return _as_2020(made, schema)

    def _listed(self, schemas: Any, place: str, stack: tuple[str, ...], writing: bool) -> list[Any]:
        if not isinstance(schemas, list):
            raise Unusable(place, "must be a list")
        return [self._unfold(one, f"{place}[{index}]", stack, writing) for index, one in enumerate(schemas)]

    def _named(self, schemas: Any, place: str, stack: tuple[str, ...], writing: bool) -> dict[str, Any]:
        if schemas is None or schemas == []:
            return {}
        if not isinstance(schemas, Mapping):
            raise Unusable(place, "must be an object")
        return {
            str(name): self._unfold(one, f"{place}.{name}", stack, writing)
            for name, one in schemas.items()
            if not (writing and isinstance(one, Mapping) and one.get("readOnly") is True)
        }

    def _followed(
        self, schema: Mapping[str, Any], reference: Any, place: str, stack: tuple[str, ...], writing: bool
    ) -> Any:
        if reference in stack:
            self._cyclic[str(reference)] = writing
            return {"$ref": f"#/$defs/{_name(str(reference))}"}
        made = self._unfold(self._at(reference, place), place, (*stack, str(reference)), writing)
        beside = {key: schema[key] for key in ("description", "default") if key in schema}
        return {**made, **beside} if beside and isinstance(made, dict) else made


def _pointed(root: Any, pointer: str) -> Any:
    """What a JSON pointer leads to, or _MISSING."""
    found = root
    for part in pointer.split("/"):
        # A pointer in a URL is percent-encoded; many documents write it as it is.
        keys = [one.replace("~1", "/").replace("~0", "~") for one in (unquote(part), part)]
        if isinstance(found, Mapping) and (named := [key for key in keys if key in found]):
            found = found[named[0]]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return _MISSING
    return found


def _name(reference: str) -> str:
    return "".join(one if one.isalnum() or one in "_-" else "_" for one in reference.removeprefix("#/"))


def _as_2020(made: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Converts OpenAPI 3.0's dialect to JSON schema."""
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(made.get(bound), bool) and made.pop(bound) and plain in made:
            made[bound] = made.pop(plain)
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    return made
