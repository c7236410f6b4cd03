"""`page`, `page_size` and `sort` out of a query string, with the reasons when they are wrong."""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Query

from stoa.kernel.pages import PAGE_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PageRequest, parse_sort

Page = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Counts from 1.")]
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description=f"1 to {PAGE_SIZE_MAX}.")]


def Paging(sortable: Mapping[str, str] | None = None) -> Callable[..., PageRequest]:  # noqa: N802 — reads as the type it gives
    """A dependency that gives a PageRequest. `sortable` maps the fields that `sort` may name to their columns."""
    if not sortable:

        def plain(page: Page = 1, page_size: PageSize = PAGE_SIZE_DEFAULT) -> PageRequest:
            return PageRequest(page, page_size)

        return plain

    about = f"Comma-separated fields, - for descending: {', '.join(sorted(sortable))}."

    def sorting(
        page: Page = 1,
        page_size: PageSize = PAGE_SIZE_DEFAULT,
        sort: Annotated[str | None, Query(max_length=200, description=about)] = None,
    ) -> PageRequest:
        return PageRequest(page, page_size, parse_sort(sort, sortable))

    return sorting
