"""The cost of a JSON schema, computed from its shape alone. Pure, and linear in the size of the schema.

A schema of 1.4 kB can expand to billions of subschemas: `$defs` whose `anyOf` refer to one another. A validator
follows every path, so the cost is the size of the schema with every reference resolved.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

BYTES_MAX: Final = 256 * 1024
"""Of a schema as JSON."""
UNFOLDED_MAX: Final = 20_000
"""Subschemas of one schema, with every reference resolved. The largest ones of public APIs have a tenth of that."""
DEPTH_MAX: Final = 200
CHEAP_STEPS_MAX: Final = 20_000
"""Steps that are taken in this process: a few milliseconds."""

_IN_PLACE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)
"""Keywords that apply subschemas to the value itself, so that it is checked more than once."""
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SINGLE: Final = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "items",
        "additionalItems",
        "unevaluatedItems",
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "contains",
    }
)
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class Cost:
    """`unfolded` counts subschemas with references resolved, a recursive one once. `problem` says why it is too
    large."""

    unfolded: int
    branches: bool = False
    recursive: bool = False
    patterns: bool = False
    problem: str | None = None

    def cheap(self, nodes: int) -> bool:
        """Whether any value of so many nodes is checked in a few milliseconds."""
        if self.patterns or self.problem is not None or (self.recursive and self.branches):
            return False
        return nodes * (self.unfolded if self.branches else 8) <= CHEAP_STEPS_MAX


def cost(schema: Any) -> Cost:
    walk = _Walk(schema)
    try:
        unfolded = walk.size(schema, 0)
    except _TooMuch as error:
        return Cost(UNFOLDED_MAX + 1, problem=str(error))
    return Cost(unfolded, walk.branches, walk.recursive, walk.patterns)


def nodes(value: Any, most: int = CHEAP_STEPS_MAX) -> int:
    """Values within a value, itself among them; counting ends at `most`."""
    count, open_values = 0, [value]
    while open_values and count < most:
        one = open_values.pop()
        count += 1
        if isinstance(one, Mapping):
            open_values.extend(one.values())
        elif isinstance(one, list):
            open_values.extend(one)
    return count


class _TooMuch(Exception):
    pass


class _Walk:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._anchors: dict[str, Any] | None = None
        self._known: dict[int, int] = {}
        self._open: set[int] = set()
        self.branches = self.recursive = self.patterns = False

    def size(self, schema: Any, depth: int) -> int:
        """Subschemas of `schema`, itself among them."""
        if not isinstance(schema, Mapping):
            return 1
        if depth > DEPTH_MAX:
            raise _TooMuch(f"is nested deeper than {DEPTH_MAX} levels")
        name = id(schema)
        if name in self._open:
            self.recursive = True
            return 1
        if name not in self._known:
            self._open.add(name)
            total = 1
            for child in self._children(schema):
                total += self.size(child, depth + 1)
                if total > UNFOLDED_MAX:
                    raise _TooMuch(f"stands for more than {UNFOLDED_MAX} schemas once its references are unfolded")
            self._open.discard(name)
            self._known[name] = total
        return self._known[name]

    def _children(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for keyword, value in schema.items():
            if keyword in ("pattern", "patternProperties"):
                self.patterns = True
            if keyword in _IN_PLACE:
                self.branches = True
            if keyword in _LISTS and isinstance(value, list):
                yield from value
            elif keyword in _NAMED and isinstance(value, Mapping):
                yield from value.values()
            elif keyword in _SINGLE:
                yield value
            elif keyword in _REFERENCES and isinstance(value, str):
                self.branches = self.branches or len(schema) > 1
                yield self._target(value)

    def _target(self, reference: str) -> Any:
        """The target of a reference within the schema; None for a dangling one, which the validator refuses."""
        if reference in ("#", ""):
            return self._root
        if not reference.startswith("#/"):
            return self._anchor(reference.removeprefix("#"))
        found: Any = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping):
                found = found.get(name)
            elif isinstance(found, Sequence) and not isinstance(found, str) and name.isdigit():
                found = found[int(name)] if int(name) < len(found) else None
            else:
                return None
        return found

    def _anchor(self, name: str) -> Any:
        if self._anchors is None:
            self._anchors = {}
            open_values = [self._root]
            while open_values:
                one = open_values.pop()
                if isinstance(one, Mapping):
                    for keyword in ("$anchor", "$dynamicAnchor", "$id", "id"):
                        if isinstance(one.get(keyword), str):
                            self._anchors.setdefault(one[keyword].removeprefix("#"), one)
                    open_values.extend(one.values())
                elif isinstance(one, list):
                    open_values.extend(one)
        return self._anchors.get(name)
