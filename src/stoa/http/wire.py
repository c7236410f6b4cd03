"""The envelope: `{"data": …}`, lists with `pagination`, acknowledgements, refusals (contract section 2)."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from stoa.kernel.clock import rfc3339
from stoa.kernel.pages import Page

Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


def storable(text: str) -> str:
    """PostgreSQL's text type accepts every character except NUL; a lone surrogate is not a character."""
    if "\x00" in text:
        raise ValueError("cannot hold the character NUL")
    if re.search(r"[\ud800-\udfff]", text):
        raise ValueError("holds half of a surrogate pair, which is no character")
    return text


def _document(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """A field that may be None is not required, because responses omit it. A model's `example` is shown."""
    if "example" in model.__dict__:
        schema["examples"] = [model.__dict__["example"]]
    properties = schema.get("properties", {})
    optional = {name for name, field in properties.items() if {"type": "null"} in field.get("anyOf", ())}
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in optional]


class Wire(BaseModel):
    """A JSON shape. Outputs name every field without a default; a None is left out of the answer."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_document)


class Body(Wire):
    """A JSON shape that clients send. A field that is not known is refused: a misspelt one must not pass as if it had
    been left out.

    A model that is a whole request has an `example: ClassVar` of it, which the OpenAPI document shows.
    """

    model_config = ConfigDict(extra="forbid")


T = TypeVar("T")
R = TypeVar("R")


class Data(Wire, Generic[T]):
    data: T


class Pagination(Wire):
    """`total_count_estimated`: there are so many that they are not counted, and `total_count` and `page_count` are
    estimates.

    `next_cursor`: where the list goes on, in lists that take a `cursor`.
    """

    page: int
    page_size: int
    page_count: int
    total_count: int
    total_count_estimated: Literal[True] | None
    next_cursor: str | None


class DataList(Wire, Generic[T]):
    data: Sequence[T]
    pagination: Pagination


class Acknowledgement(Wire):
    message: Literal["deleted", "canceled", "ok", "created"]


class DeletedWire(Wire):
    """The receipt is at /v1/deletions/{deletion_id}."""

    message: Literal["deleted"]
    deletion_id: UUID


class RefusalDetail(Wire):
    code: str
    message: str
    details: dict[str, str] | None = None


class RefusalBody(Wire):
    """Every error of every JSON route."""

    error: RefusalDetail


def page_of(page: Page[T], render: Callable[[T], R]) -> DataList[R]:
    return DataList(
        data=[render(item) for item in page.items],
        pagination=Pagination(
            page=page.page,
            page_size=page.page_size,
            page_count=page.page_count,
            total_count=page.total_count,
            total_count_estimated=page.estimated or None,
            next_cursor=page.next_cursor,
        ),
    )


REFUSAL_MEANINGS = {
    400: "The request is malformed or invalid; `details` names every bad field.",
    401: "No credential, or one that is unknown, expired or revoked.",
    403: "A valid credential that may not do this.",
    404: "It does not exist, or lies outside the credential's scope.",
    409: "A conflict with the present state.",
    412: "What `If-Match` names is not the newest version any more.",
    413: "The body is over the limit.",
    415: "Another media type than the ones taken here.",
    422: "On the router: the request cannot be read; `details` names every bad field.",
    429: "The key's requests of this minute are used up; see Retry-After and RateLimit-Reset.",
    502: "On the router: the model's provider failed before it began to answer.",
    503: "Draining, or the database is away; see Retry-After.",
    504: "On the router: the model's provider did not begin to answer in time.",
}
REFUSAL_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/RefusalBody"}}}
"""A reference by name, because the framework builds a validator for each model that it is given: 500 equal ones, 50 ms
of every start. `/ready` defines the schema."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: its refusals, always including 400, 401, 403, 429 and 503."""
    return {
        status: {"description": REFUSAL_MEANINGS[status], "content": REFUSAL_CONTENT}
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


def not_blank(text: str) -> str:
    """A validator: text that is not blank and that the database can store."""
    if not text.strip():
        raise ValueError("cannot be blank")
    return storable(text)
