"""The HTTP kit of every slice's `api`. It knows no slice."""

from stoa.http.authentication import Authenticate, Gate
from stoa.http.idempotency import IdempotencyKeyHeader, fingerprint, repeated
from stoa.http.paging import Paging
from stoa.http.routing import Routes
from stoa.http.wire import (
    Acknowledgement,
    Body,
    Data,
    DataList,
    Pagination,
    RefusalBody,
    Timestamp,
    Wire,
    page_of,
    refusals,
)

__all__ = [
    "Acknowledgement",
    "Authenticate",
    "Body",
    "Data",
    "DataList",
    "Gate",
    "IdempotencyKeyHeader",
    "Pagination",
    "Paging",
    "RefusalBody",
    "Routes",
    "Timestamp",
    "Wire",
    "fingerprint",
    "page_of",
    "refusals",
    "repeated",
]
