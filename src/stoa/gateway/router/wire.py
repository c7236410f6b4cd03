"""The shapes of the router's own answers, in OpenAI's format (contract section 8)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson
from starlette.responses import Response

from stoa.gateway.offers import ModelEntry
from stoa.gateway.router.errors import SpendingLimitReached, code_of
from stoa.http import Wire
from stoa.kernel.errors import AppError, BadRequest

INVALID: Final = "Failed to parse data"
_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
"""`type` of a refusal, by its status; every other is `server_error`."""


class RoutedModelWire(Wire):
    """`id` is the slug that `model` takes."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class RoutedModelsWire(Wire):
    object: Literal["list"]
    data: Sequence[RoutedModelWire]


def model(slug: str, owned_by: str) -> RoutedModelWire:
    return RoutedModelWire(id=slug, object="model", created=0, owned_by=owned_by)


def models(entries: Sequence[ModelEntry]) -> Sequence[RoutedModelWire]:
    return [model(entry.slug, entry.provider) for entry in entries]


def error_body(error: AppError) -> bytes:
    """The envelope of the contract with OpenAI's `type` and `param` beside `code` and `message`."""
    validation = type(error) is BadRequest
    status = 422 if validation else error.status
    held: dict[str, Any] = {
        "code": code_of(error),
        "message": INVALID if validation else error.message,
        "type": "insufficient_quota" if isinstance(error, SpendingLimitReached) else _TYPES.get(status, "server_error"),
        "param": next(iter(error.details)) if error.details else None,
    }
    if error.details:
        held["details"] = error.details
    return orjson.dumps({"error": held})


def refused(error: AppError) -> Response:
    """A refusal in the form of the router's host: a request that this server cannot parse is 422."""
    status = 422 if type(error) is BadRequest else error.status
    return Response(error_body(error), status, dict(error.headers), "application/json")
