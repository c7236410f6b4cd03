"""Lists with pages."""

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from stoa_client._async.transport import AsyncTransport
from stoa_client.records import Record
from stoa_client.types import PageOf, Pagination
from stoa_client.wire import Call, query

R = TypeVar("R", bound=Record)


class AsyncPage(PageOf[R], Generic[R]):
    """One page. `async for` iterates over this page and all further ones, and requests each when it is needed."""

    def __init__(self, transport: AsyncTransport, call: Call, of: type[R], answer: Any) -> None:
        super().__init__([of(raw) for raw in answer["data"]], Pagination(answer["pagination"]))
        self._transport = transport
        self._call = call
        self._of = of

    async def next_page(self) -> "AsyncPage[R] | None":
        """The next page, or None. Uses the cursor if the list has one, so that no object is repeated when the list
        grows."""
        if not self.has_next:
            return None
        cursor = self.pagination.next_cursor
        following = query(cursor=cursor) if cursor is not None else query(page=self.pagination.page + 1)
        others = tuple(pair for pair in self._call.query if pair[0] not in ("page", "cursor"))
        return await fetch_page(self._transport, Call("GET", self._call.path, query=(*others, *following)), self._of)

    async def __aiter__(self) -> AsyncIterator[R]:
        current: AsyncPage[R] | None = self
        while current is not None:
            for one in current.data:
                yield one
            current = await current.next_page()


async def fetch_page(transport: AsyncTransport, call: Call, of: type[R]) -> AsyncPage[R]:
    return AsyncPage(transport, call, of, await transport.json(call))
