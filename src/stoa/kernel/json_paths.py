"""JSONPath in flows and triggers: the allowed subset, and its evaluation. Pure.

Tenants write the expressions and the data. The library parses an expression; only names, indexes, slices, `*` and one
`..` are allowed, as in the platform's own library. So an expression visits each value of its data a bounded number of
times, and there is no filter whose regular expression could run for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonpath import JSONPathEnvironment

CHARACTERS_MAX: Final = 1_000
SEGMENTS_MAX: Final = 32
MATCHES_MAX: Final = 10_000
UNION_MAX: Final = 16
"""Names and indexes in one pair of brackets."""
_ROOTS: Final = ("$", "@")


class PathError(Exception):
    """An invalid expression, or one that found too much; the message continues after the field's name."""


@dataclass(frozen=True, slots=True)
class Path:
    """A checked expression. `names` are the names at its beginning: `("a", "output")` of `$.a.output[*].b`."""

    text: str
    names: Sequence[str]
    cheap: bool
    """It leads directly to one value, whatever the size of the data."""
    query: Any

    def all(self, data: Any) -> Sequence[Any]:
        """Raises PathError."""
        if not isinstance(data, Mapping | Sequence) or isinstance(data, str):
            return [data] if not self.names and self.cheap else []
        from jsonpath import JSONPathError  # noqa: PLC0415 — the server starts without it

        try:
            found = [match.obj for match in islice(self.query.finditer(data), MATCHES_MAX + 1)]
        except JSONPathError as error:
            raise PathError(f"{self.text!r} cannot be followed: {_said(error)}") from error
        if len(found) > MATCHES_MAX:
            raise PathError(f"{self.text!r} finds more than {MATCHES_MAX} values")
        return found

    def one(self, data: Any) -> Any:
        """The value, None if nothing is found, a list if several values are found. Raises PathError."""
        found = self.all(data)
        return None if not found else found[0] if len(found) == 1 else found


def is_rooted(text: str) -> bool:
    """Whether a text is meant as a path: `$`, `$.a`, `@[0]`; `@channel` is not."""
    return text.startswith(_ROOTS) and (len(text) == 1 or text[1] in ".[")


@lru_cache(maxsize=8_192)
def compiled(text: str) -> Path:
    """Raises PathError with a sentence about the expression."""
    if len(text) > CHARACTERS_MAX:
        raise PathError(f"is longer than {CHARACTERS_MAX} characters")
    from jsonpath import JSONPath, JSONPathError  # noqa: PLC0415 — the server starts without it
    from jsonpath.segments import JSONPathRecursiveDescentSegment  # noqa: PLC0415
    from jsonpath.selectors import IndexSelector, NameSelector, SliceSelector, WildcardSelector  # noqa: PLC0415

    try:
        query = _environment().compile(_from_root(text))
    except (JSONPathError, RecursionError, ValueError) as error:
        raise PathError(f"is no JSONPath: {_said(error)}") from error
    if not isinstance(query, JSONPath):
        raise PathError("joins several paths; write one")
    if len(query.segments) > SEGMENTS_MAX:
        raise PathError(f"has more than {SEGMENTS_MAX} steps")
    names: list[str] = []
    cheap, straight, descents, unions = True, True, 0, 0
    for segment in query.segments:
        descents += isinstance(segment, JSONPathRecursiveDescentSegment)
        unions += len(segment.selectors) > 1
        if len(segment.selectors) > UNION_MAX or unions > 1 or descents > 1:
            raise PathError("may hold one .. and one list of names or indexes")
        for selector in segment.selectors:
            if not isinstance(selector, NameSelector | IndexSelector | SliceSelector | WildcardSelector):
                raise PathError("may hold names, indexes, slices, * and .. alone; filters are not followed")
            cheap = cheap and isinstance(selector, NameSelector | IndexSelector)
        only = segment.selectors[0] if len(segment.selectors) == 1 else None
        straight = straight and not descents
        if straight and isinstance(only, NameSelector):
            names.append(only.name)
        else:
            straight = False
    return Path(text, tuple(names), cheap and not descents and not unions, query)


def _from_root(text: str) -> str:
    """`@.a` and `a` are `$.a`: a word such as `none` is a name here, and nothing else."""
    return f"${text[1:]}" if text.startswith(_ROOTS) else f"${text}" if text.startswith("[") else f"$.{text}"


@cache
def _environment() -> "JSONPathEnvironment":
    from jsonpath import JSONPathEnvironment  # noqa: PLC0415 — the server starts without it

    return JSONPathEnvironment(filter_caching=False)


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(", line")[0][:200]
