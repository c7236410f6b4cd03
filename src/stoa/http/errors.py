"""Refusals on the wire: the one place that renders an error (contract section 2)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stoa.kernel.errors import AppError, BadRequest, UnsupportedMediaType

INTERNAL_MESSAGE: Final = "Something went wrong on the server. It was logged under this request's id."

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

_JSON: Final = re.compile(r"application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)
_UNREADABLE: Final = "There was an error parsing the body"
"""FastAPI's words for any failure of its parser but a plain syntax error."""


def body(code: str, message: str, details: Mapping[str, str] | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return orjson.dumps({"error": error})


def response(error: AppError) -> Response:
    return Response(body(error.code, error.message, error.details), error.status, error.headers, "application/json")


def install(app: FastAPI) -> None:
    """Makes `app` answer every refusal in the envelope. Bugs are not handled here: the edge logs and hides them."""

    async def on_refusal(_: Request, error: Exception) -> Response:
        assert isinstance(error, AppError)
        return response(error)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        sent = request.headers.get("content-type", "")
        if (
            sent
            and not _JSON.match(sent)
            and not sent.startswith("multipart/")
            and any(tuple(one["loc"]) == ("body",) for one in error.errors())
        ):
            return response(
                UnsupportedMediaType(
                    f"Send the body as JSON, with Content-Type: application/json; this one came as {sent[:100]}."
                )
            )
        details = explain(error.errors(), error.body)
        return response(
            BadRequest("; ".join(f"{field} {reason}" for field, reason in details.items()), details=details)
        )

    async def on_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = _SENTENCES.get(error.status_code, str(error.detail))
        if message == _UNREADABLE:
            return response(BadRequest.field("body", "is no JSON that can be read: malformed, or nested too deeply"))
        return Response(
            body(_CODES.get(error.status_code, "bad_request"), message),
            error.status_code,
            dict(error.headers or {}),
            "application/json",
        )

    async def on_disconnect(_: Request, error: Exception) -> Response:
        assert isinstance(error, ClientDisconnect)
        return response(BadRequest("The request's body ended early; nothing was stored."))

    app.add_exception_handler(AppError, on_refusal)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_disconnect)


def explain(errors: Iterable[Mapping[str, Any]], sent: Any = None) -> dict[str, str]:
    """pydantic's findings as field → reason, in the words of the contract: `content[1].file.id`.

    `sent` is the body: with it a tag that chose among bodies (a `type`, a `provider`) is told from a field.
    """
    details: dict[str, str] = {}
    for error in errors:
        path = "body" if error["type"] == "json_invalid" else _path(_sent_names(error["loc"], sent))
        if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
            tag = error["ctx"]["discriminator"].strip("'")
            path = tag if path == "body" else f"{path}.{tag}"
        details.setdefault(path, _reason(error))
    return details


_BODY_TAGS: Final = frozenset(
    {"human_feedback", "approval", "http", "mcp", "python", "website", "directory", "s3", "git"}
)
"""`type`s and providers that choose among bodies: locations begin with them, and a caller did not write that."""

_PART_TAGS: Final = frozenset({"text", "file"})
"""The same for `type`s that choose among the parts of a list."""


def _sent_names(location: Sequence[str | int], sent: Any) -> Sequence[str | int]:
    """A location without the tag of the body: a first name that is no field of what was sent, but the value of one."""
    names = list(location)
    if len(names) > 2 and names[0] == "body" and isinstance(sent, Mapping):
        fields = cast("Mapping[Any, Any]", sent)
        if names[1] not in fields and names[1] in fields.values():
            del names[1]
    return names


def _path(location: Sequence[str | int]) -> str:
    names = list(location)
    if names and names[0] in ("body", "query", "path", "header", "cookie"):
        names = names[1:]
    if len(names) > 1 and names[0] in _BODY_TAGS:
        names = names[1:]
    path = ""
    for position, name in enumerate(names):
        if isinstance(name, int):
            path += f"[{name}]"
        elif not _is_tag(name, names[position - 1] if position else None):
            path += f".{name}" if path else name
    return path or "body"


def _is_tag(name: str, before: str | int | None) -> bool:
    """Locations name the member of a union that was tried; a caller did not write that."""
    return (isinstance(before, int) and name in _PART_TAGS) or "[" in name or name in ("str", "list", "dict")


def _reason(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "union_tag_invalid":
            return f"must be one of {context['expected_tags'].replace(chr(39), '')}"
        case "json_invalid":
            return f"is not valid JSON at character {error['loc'][-1]}: {context.get('error', 'malformed')}"
        case "string_too_short" if context.get("min_length") == 1:
            return "cannot be blank"
        case "too_short" if context.get("min_length") == 1:
            return "cannot be empty"
        case "value_error":
            return str(context.get("error", error["msg"]))
        case "extra_forbidden":
            return "is not a field of this request"
        case "uuid_parsing" | "uuid_type":
            return "must be a UUID"
        case "string_type":
            return "must be a string"
        case "list_type":
            return "must be a list"
        case "dict_type" | "model_attributes_type" | "model_type":
            return "must be an object"
        case _:
            return str(error["msg"]).replace("Input should be", "must be").replace("String should", "should")
