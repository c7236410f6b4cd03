"""`page`, `page_size` and `sort` of a query string, with the reasons if they are invalid."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import Query

from stoa.kernel.errors import BadRequest
from stoa.kernel.pages import CURSOR_CHARACTERS_MAX, PAGE_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PageRequest, parse_sort

Page = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Counts from 1.")]
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description=f"1 to {PAGE_SIZE_MAX}.")]

ABOUT_CURSORS = (
    "The next_cursor of a page: the answer goes on behind it, as quickly at the end of a long list as at its beginning."
)


def Paging(  # noqa: N802 — reads as the type it gives
    sortable: Mapping[str, str] | None = None, *, cursors: bool = False, size_max: int = PAGE_SIZE_MAX
) -> Callable[..., Awaitable[PageRequest]]:
    """A dependency that gives a PageRequest. `sortable` maps the fields that `sort` may name to their columns; with
    `cursors` the list supports cursors. `size_max` differs only where clients of the platform need it, in a sorted
    list.

    It is a coroutine, because the framework runs any other function in a thread, which costs two switches and waits for
    the interpreter's lock.
    """
    if not sortable:

        async def plain(page: Page = 1, page_size: PageSize = PAGE_SIZE_DEFAULT) -> PageRequest:
            return PageRequest(page, page_size)

        return plain

    about = f"Comma-separated fields, - for descending: {', '.join(sorted(sortable))}."

    if cursors:

        async def going_on(
            page: Page = 1,
            page_size: PageSize = PAGE_SIZE_DEFAULT,
            sort: Annotated[str | None, Query(max_length=200, description=about)] = None,
            cursor: Annotated[str | None, Query(max_length=CURSOR_CHARACTERS_MAX, description=ABOUT_CURSORS)] = None,
        ) -> PageRequest:
            if cursor is not None and page != 1:
                raise BadRequest.field(
                    "page", "cannot be sent together with a cursor, which says where the page begins"
                )
            return PageRequest(page, page_size, parse_sort(sort, sortable), cursor)

        return going_on

    async def sorting(
        page: Page = 1,
        page_size: Annotated[int, Query(ge=1, le=size_max, description=f"1 to {size_max}.")] = PAGE_SIZE_DEFAULT,
        sort: Annotated[str | None, Query(max_length=200, description=about)] = None,
    ) -> PageRequest:
        return PageRequest(page, page_size, parse_sort(sort, sortable))

    return sorting
