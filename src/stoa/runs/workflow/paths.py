"""Selectors of a flow: paths, alternatives, and literal values. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoa.kernel.json_paths import CHARACTERS_MAX, Path, PathError, compiled, is_rooted

ALTERNATIVES_MAX: Final = 16
RESULT: Final = ("output", "status", "error")
"""The parts of a node's result that paths can read."""
_OR: Final = "||"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a selector: the first path that finds something; `default` where none does.

    A text that is not a path (`@channel`, a sentence) is a literal value. A bare word is looked up first, as on the
    platform, and is a literal value where nothing has that name.
    """

    paths: Sequence[Path]
    default: Any = None
    first: bool = False
    """Whether a path that finds null counts as finding nothing (`$.a

    $.b`).
    """

    @property
    def cheap(self) -> bool:
        return all(path.cheap for path in self.paths)

    def of(self, data: Any) -> Any:
        """Raises PathError."""
        for path in self.paths:
            found = path.all(data)
            if any(value is not None for value in found) or (found and not self.first):
                return found[0] if len(found) == 1 else found
        return self.default


def field(value: Any) -> Field:
    """Raises PathError."""
    if not isinstance(value, str):
        return Field((), value)
    parts = [part.strip() for part in value.split(_OR) if part.strip()] if _OR in value else []
    if any(is_rooted(part) for part in parts):
        return _first_of(parts)
    if is_rooted(value):
        return Field((compiled(value),))
    if value.replace("_", "a").replace("-", "a").isalnum() and value[0].isalpha() and len(value) <= CHARACTERS_MAX:
        return Field((compiled(value),), value)
    return Field((), value)


def _first_of(parts: Sequence[str]) -> Field:
    if len(parts) > ALTERNATIVES_MAX:
        raise PathError(f"has more than {ALTERNATIVES_MAX} alternatives")
    paths: list[Path] = []
    for part in parts:
        if not is_rooted(part):
            return Field(paths, part, first=True)
        paths.append(compiled(part))
    return Field(paths, first=True)


def nodes_of(text: str) -> Iterator[str]:
    """The nodes whose results a selector's value reads: `a` of `$.a.output.b`. A field of the run's input may have the
    same name."""
    for path in field(text).paths:
        if is_rooted(path.text) and len(path.names) > 1 and path.names[1] in RESULT:
            yield path.names[0]
