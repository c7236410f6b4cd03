"""The shapes of `GET /v1/runs/{id}/events`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from stoa.http import Pagination, Wire
from stoa.journal import Record
from stoa.kernel.pages import Page


class EventWire(Wire):
    """One event, as on the stream's `data:` line."""

    id: UUID
    type: str
    sequence: int
    timestamp: str
    data: dict[str, Any]


class EventListWire(Wire):
    data: Sequence[EventWire]
    pagination: Pagination


def render_page(page: Page[Record]) -> bytes:
    """The stored bytes, byte for byte, inside the envelope."""
    pagination = {
        "page": page.page,
        "page_size": page.page_size,
        "page_count": page.page_count,
        "total_count": page.total_count,
    }
    return b'{"data":[%b],"pagination":%b}' % (
        b",".join(record.payload for record in page.items),
        orjson.dumps(pagination),
    )
