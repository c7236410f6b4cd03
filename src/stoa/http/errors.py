"""Refusals on the wire: the one place that renders an error (contract section 2)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from stoa.http.locations import Location, locate
from stoa.kernel import descriptors
from stoa.kernel.errors import AppError, BadRequest, NotFound, TooLarge, Unavailable, UnsupportedMediaType

INTERNAL_MESSAGE: Final = "Something went wrong on the server. It was logged under this request's id."
RENDER: Final = "stoa.render_error"
"""The key of the scope for the host's function that renders a refusal."""

_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
_SENTENCES: Final[Mapping[int, str]] = {
    404: "There is no such route. The routes are listed at /docs.",
    405: "This route does not take that method. The routes are listed at /docs.",
}
_UNREADABLE: Final = "There was an error parsing the body"
"""FastAPI's message for any failure of its form parser that is not one of its own exceptions."""
FAULTS_MAX: Final = 100
"""Errors of one request that are explained."""
RETRY_AFTER_SECONDS: Final = 1
"""For a 429 or 503 that does not set a time."""


class InternalError(AppError):
    """A bug, as the caller sees it; the edge logs it with its stack."""

    def __init__(self) -> None:
        super().__init__(INTERNAL_MESSAGE)


def unexpected(error: Exception) -> AppError:
    """The response to an unexpected error."""
    if descriptors.exhausted(error):
        return Unavailable("This server has no file descriptor left for this request; try again in a moment.")
    return InternalError()


def body(code: str, message: str, details: Mapping[str, str] | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return orjson.dumps({"error": error})


def response(error: AppError) -> Response:
    headers = dict(error.headers)
    if error.status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return Response(body(error.code, error.message, error.details), error.status, headers, "application/json")


def rendered(scope: Scope, error: AppError) -> Response:
    """The refusal in the format of the request's host."""
    render: Callable[[AppError], Response] = scope.get(RENDER, response)
    return render(error)


def left_early() -> AppError:
    """Tells the log and the counters that the client disconnected."""
    return BadRequest("The request's body ended early; nothing was stored.")


def install(app: FastAPI) -> None:
    """Makes `app` answer refusals and bugs in the envelope; bugs are raised further to the edge, which logs them."""

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, AppError)
        return rendered(request.scope, error)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        route = request.scope.get("route")
        field = getattr(route, "body_field", None)
        details = explain(error.errors(), field.field_info if field is not None else Any)
        sentence = "; ".join(f"{name} {reason}" for name, reason in details.items())
        return rendered(request.scope, BadRequest(sentence, details=details))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return http_response(request.scope, error)

    async def on_disconnect(request: Request, error: Exception) -> Response:
        assert isinstance(error, ClientDisconnect)
        return rendered(request.scope, left_early())

    async def on_bug(request: Request, error: Exception) -> Response:
        return rendered(request.scope, unexpected(error))

    app.add_exception_handler(AppError, on_refusal)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_bug)


def http_response(scope: Scope, error: HTTPException) -> Response:
    """The framework's own refusals."""
    message = _SENTENCES.get(error.status_code, str(error.detail))
    match error.status_code:
        case 400 if message == _UNREADABLE:
            return rendered(scope, BadRequest.field("body", "is no multipart form that can be read"))
        case 400:
            return rendered(scope, BadRequest(message))
        case 404:
            return rendered(scope, NotFound(message))
        case 413:
            return rendered(scope, TooLarge(message))
        case 415:
            return rendered(scope, UnsupportedMediaType(message))
        case status:
            return Response(
                body(_CODES.get(status, "bad_request"), message), status, dict(error.headers or {}), "application/json"
            )


def explain(errors: Iterable[Mapping[str, Any]], annotation: object = Any) -> dict[str, str]:
    """pydantic's errors as field → reason, with paths as in the contract: `content[1].file.id`. `annotation` is the
    body's type."""
    details: dict[str, str] = {}
    for error in islice(errors, FAULTS_MAX):
        at = _located(error["loc"], annotation)
        path = at.path
        if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
            tag = error["ctx"]["discriminator"].strip("'")
            path = f"{path}.{tag}" if path else tag
        if isinstance(mismatch := error.get("ctx", {}).get("error"), FieldMismatch):
            path = f"{path}.{mismatch.field}" if path else mismatch.field
        details.setdefault(path or "body", _reason(error, at.known))
    return details


class FieldMismatch(ValueError):
    """Raised by a validator of a whole object: `field` is what does not fit the others."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name."""
    close = get_close_matches(name[:100], known, 1, 0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""


def _located(location: Sequence[str | int], annotation: object) -> Location:
    names = list(location)
    if names and names[0] == "body":
        return locate(names[1:], annotation)
    if names and names[0] in ("query", "path", "header", "cookie"):
        names = names[1:]
    return locate(names, Any)


_REASONS: Final = {
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "timezone_aware": "must have a time zone, such as 2030-01-31T09:00:00Z",
}
"""What pydantic finds, by its name of it, where nothing else counts."""


def _reason(error: Mapping[str, Any], known: Collection[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden":
            return f"is no field of this object{did_you_mean(str(error['loc'][-1]), known)}"
        case "union_tag_invalid":
            return f"must be one of {context['expected_tags'].replace(chr(39), '')}"
        case "string_too_short" if context.get("min_length") == 1:
            return "cannot be blank"
        case "too_short" if context.get("min_length") == 1:
            return "cannot be empty"
        case "too_long" if context.get("field_type") in ("List", "Dictionary"):
            return f"can hold at most {context['max_length']}"
        case "value_error":
            message = str(context.get("error", error["msg"]))
            return (
                "must be a part of the form with a file name" if message.startswith("Expected UploadFile") else message
            )
        case _ if kind in _REASONS:
            return _REASONS[kind]
        case _:
            return str(error["msg"]).replace("Input should", "must").replace("String should", "should")
