"""Pages of a list: `page` from 1, `page_size` 1 to 500 (contract section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from stoa.kernel.errors import BadRequest

PAGE_SIZE_DEFAULT: Final = 25
PAGE_SIZE_MAX: Final = 500
PAGE_MAX: Final = 1_000_000
"""Keeps `page * page_size` far inside a 64-bit offset."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    page: int = 1
    page_size: int = PAGE_SIZE_DEFAULT
    sort: tuple[tuple[str, bool], ...] = ()
    """(column, descending) pairs, already checked against what the list allows."""

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size

    def order_by(self, default: str) -> str:
        """An ORDER BY list built from checked column names only; `id` last, so that pages never overlap."""
        chosen = ", ".join(f"{column} {'DESC' if descending else 'ASC'}" for column, descending in self.sort)
        return f"{chosen or default}, id"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: Sequence[T]
    page: int
    page_size: int
    total_count: int

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
