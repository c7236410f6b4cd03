"""The Python client of Stoa. `Stoa` is synchronous, `AsyncStoa` is for asyncio. Both have the same methods.

with Stoa("http://localhost:8080", "stoa_acc_…") as stoa:
    model = next(iter(stoa.models.list()))
    conversation = stoa.conversations.create(model_id=model.id)
    with stoa.send(conversation.id, "Hello") as stream:
        for event in stream:
            ...
    assert stream.verified
"""

from stoa_client import errors, events, types
from stoa_client._async.client import AsyncStoa
from stoa_client._async.paging import AsyncPage
from stoa_client._async.stream import AsyncStream
from stoa_client._async.tail import AsyncTail
from stoa_client._sync.client import Stoa
from stoa_client._sync.paging import Page
from stoa_client._sync.stream import Stream
from stoa_client._sync.tail import Tail
from stoa_client.errors import (
    APIError,
    BadRequestError,
    ConflictError,
    ConnectionFailed,
    ForbiddenError,
    GapError,
    IntegrityError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RunCanceled,
    RunError,
    RunFailed,
    ServerError,
    StoaError,
    StreamError,
    StreamLost,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from stoa_client.follow import TextChange
from stoa_client.retry import RetryPolicy
from stoa_client.version import __version__

__all__ = [
    "APIError",
    "AsyncPage",
    "AsyncStoa",
    "AsyncStream",
    "AsyncTail",
    "BadRequestError",
    "ConflictError",
    "ConnectionFailed",
    "ForbiddenError",
    "GapError",
    "IntegrityError",
    "NotFoundError",
    "Page",
    "ProtocolError",
    "RateLimitedError",
    "RetryPolicy",
    "RunCanceled",
    "RunError",
    "RunFailed",
    "ServerError",
    "Stoa",
    "StoaError",
    "Stream",
    "StreamError",
    "StreamLost",
    "Tail",
    "TextChange",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedMediaTypeError",
    "__version__",
    "errors",
    "events",
    "types",
]
