"""Who may see an item: the one definition, for every form in which its metadata can say so. Pure.

An item is restricted when its metadata has any key of an access list: `acl` (unless it is null), `acl.users`,
`acl.groups`, or any other `acl.…`, whatever its case and with or without a leading `metadata.`. A restricted item is
visible to the users and groups that it names, and to nobody if its access list is invalid.

A search that names a user, or groups, or both sees the items without restriction and those that admit one of them. A
search that names neither comes from the application itself and sees everything.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stoa.index.filters import AnyTerm, Expression, Not, Or, existence_term, string_term
from stoa.kernel.errors import BadRequest

ROOT: Final = "acl"
USERS: Final = "acl.users"
GROUPS: Final = "acl.groups"
_WRAPPER: Final = "metadata."


def access_terms(metadata: Mapping[str, Any]) -> set[str]:
    """The terms for `admits`; none for an unrestricted item."""
    found: set[str] = set()
    for path, value in _entries(metadata):
        found.add(existence_term(ROOT))
        if path in (USERS, GROUPS):
            found.update(string_term(path, name) for name in _names(value))
    return found


def admits(user: str | None, groups: Sequence[str] | None) -> Expression | None:
    """The filter for items that this user or one of these groups may see; None if a search names neither.

    Raises BadRequest for a name that no item can hold.
    """
    if user is None and groups is None:
        return None
    for field, names in (("user", (user or "",)), ("groups", groups or ())):
        if any("\x00" in name for name in names):
            raise BadRequest.field(field, "cannot hold the character NUL")
    named = tuple(string_term(GROUPS, group) for group in groups or ())
    if user is not None:
        named = (string_term(USERS, user), *named)
    # Items that were indexed before `access_terms` existed have the terms of their flat keys alone.
    restricted = AnyTerm(tuple(existence_term(path) for path in (ROOT, USERS, GROUPS)))
    return Or((Not(restricted), AnyTerm(named))) if named else Not(restricted)


def _entries(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each part of an access list with its path in lower case, without a leading `metadata.`."""
    for key, value in metadata.items():
        path = key.strip().lower().removeprefix(_WRAPPER)
        if path == "metadata" and isinstance(value, Mapping):
            yield from _entries(value)
        elif path.partition(".")[0].strip() == ROOT and not (path == ROOT and value is None):
            yield path, value
            for part in value if isinstance(value, list) else (value,):
                if isinstance(part, Mapping):
                    yield from ((f"{path}.{str(inner).strip().lower()}", one) for inner, one in part.items())


def _names(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, str):
            yield one
        elif isinstance(one, int) and not isinstance(one, bool):
            yield str(one)
