"""The JSON shapes of the read side: `GET /v1/runs/{id}/events`."""

from importlib import import_module

import orjson
from pydantic import BaseModel

from stoa.journal import Record
from stoa.kernel.pages import Page


def event_list() -> type[BaseModel]:
    """The model of a page of events, for the OpenAPI document."""
    model: type[BaseModel] = import_module("stoa.streams.vocabulary").EventListWire
    return model


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
