"""Pages of a list: `page` from 1, `page_size` 1 to 500 (contract section 2), or a `cursor` that continues after a
page."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import orjson

from stoa.kernel.errors import BadRequest

PAGE_SIZE_DEFAULT: Final = 25
PAGE_SIZE_MAX: Final = 500
PAGE_MAX: Final = 1_000_000
"""Keeps `page * page_size` far inside a 64-bit offset."""
COUNT_MAX: Final = 10_000
"""Long lists are counted up to this number, in about a millisecond; beyond it `total_count` is marked as an
estimate."""
CURSOR_CHARACTERS_MAX: Final = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last item of a page: its value in the column that the list is sorted by, and its id."""

    column: str
    descending: bool
    value: datetime | int
    id: UUID

    def encode(self) -> str:
        return (
            base64.urlsafe_b64encode(orjson.dumps([self.column, self.descending, self.value, str(self.id)]))
            .decode()
            .rstrip("=")
        )


@dataclass(frozen=True, slots=True)
class PageRequest:
    page: int = 1
    page_size: int = PAGE_SIZE_DEFAULT
    sort: tuple[tuple[str, bool], ...] = ()
    """(column, descending) pairs, already checked against what the list allows."""
    cursor: str | None = None
    """As a client sent it; `after` reads it."""

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size

    def order_by(self, default: str) -> str:
        """An ORDER BY list built from checked column names only; `id` last, so that pages never overlap."""
        chosen = ", ".join(f"{column} {'DESC' if descending else 'ASC'}" for column, descending in self.sort)
        return f"{chosen or default}, id"

    def column(self, default: tuple[str, bool]) -> tuple[str, bool] | None:
        """The one (column, descending) that the list is sorted by; None if it is sorted by several."""
        chosen = self.sort or (default,)
        return chosen[0] if len(chosen) == 1 else None

    def after(self, default: tuple[str, bool], columns: Mapping[str, type[datetime | int]]) -> Cursor | None:
        """The item to continue after. `columns` are the columns that a cursor may use, with the type of their values;
        none of them is ever NULL.

        Raises BadRequest for an invalid cursor, or one of another sort order.
        """
        if self.cursor is None:
            return None
        cursor = _decode(self.cursor, columns)
        if cursor is None:
            raise BadRequest.field("cursor", "is none that this list gave; send the next_cursor of a page as it is")
        if (cursor.column, cursor.descending) != self.column(default):
            raise BadRequest.field("cursor", "belongs to another sort; send the sort of the page that it came with")
        return cursor


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: Sequence[T]
    page: int
    page_size: int
    total_count: int
    estimated: bool = False
    """`total_count` is an estimate: there are more than `COUNT_MAX`."""
    next_cursor: str | None = None

    @classmethod
    def counted(cls, items: Sequence[T], request: PageRequest, count: int) -> "Page[T]":
        """The page of a list that is counted up to `COUNT_MAX + 1`. If there are more, `total_count` is at least the
        number of items up to this page and, after a full page, one more: a client that reads up to `page_count` reaches
        the end."""
        if count <= COUNT_MAX:
            return cls(items, request.page, request.page_size, count)
        seen = request.offset + len(items) + (len(items) == request.page_size)
        return cls(items, request.page, request.page_size, max(count, seen), estimated=True)

    @property
    def page_count(self) -> int:
        return -(-self.total_count // self.page_size)


def parse_sort(sort: str | None, allowed: Mapping[str, str]) -> tuple[tuple[str, bool], ...]:
    """`-created_at,title` → column pairs. `allowed` maps the API's field to its column.

    Raises BadRequest naming the allowed fields when one is unknown.
    """
    if not sort:
        return ()
    chosen: list[tuple[str, bool]] = []
    for item in sort.split(","):
        name = item.strip()
        descending = name.startswith("-")
        column = allowed.get(name.removeprefix("-"))
        if column is None:
            raise BadRequest.field(
                "sort", f"cannot be {name!r}; use {', '.join(sorted(allowed))}, with - for descending"
            )
        chosen.append((column, descending))
    return tuple(chosen)


def _decode(text: str, columns: Mapping[str, type[datetime | int]]) -> Cursor | None:
    try:
        fields: Any = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        column, descending, value, item_id = fields
        found = datetime.fromisoformat(value) if columns[column] is datetime else value
        if type(descending) is bool and type(found) is columns[column] and not _out_of_bounds(found):
            return Cursor(column, descending, found, UUID(item_id))
    except (binascii.Error, orjson.JSONDecodeError, UnicodeError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return None


def _out_of_bounds(value: datetime | int) -> bool:
    """A value that no row can have and no statement accepts."""
    if isinstance(value, datetime):
        return value.tzinfo is None
    return not -(2**31) <= value < 2**31
