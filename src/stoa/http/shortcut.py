"""Bypasses the framework for the one route that starts every run: sending a message.

Two dozen layers wrap a route; for a short answer they cost as much as a quarter of the whole run. A plain valid request
goes directly to the route's function. Every other request (a bad body, another media type, an Idempotency-Key, no
credential) goes to the framework unchanged, so refusals and documentation exist once.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa.http import errors
from stoa.http.authentication import Gate
from stoa.http.bodies import parse
from stoa.kernel.errors import AppError

BODY_BYTES_MAX: Final = 64 * 1024
"""Larger bodies arrive in several chunks, where the framework is as fast."""

Answer = Callable[..., Awaitable[Response]]
Body = TypeVar("Body")


class Shortcut:
    """Wraps the app of a host. `route`, a POST of `router`, has one UUID in its path, named `subject`; its function
    takes that, `body` and `principal`."""

    def __init__(
        self,
        app: ASGIApp,
        router: APIRouter,
        gate: Gate,
        route: str,
        subject: str,
        body: type[BaseModel],
        permission: str,
    ) -> None:
        before, after = route.split(f"{{{subject}}}")
        self._app = app
        self._gate = gate
        self._path = re.compile(re.escape(before) + "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})" + re.escape(after))
        self._subject = subject
        self._body = body
        self._permission = permission
        self._route = route_of(router, route)
        self._answer: Answer = self._route.endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self._path.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        token = plain_token(scope) if path else None
        if path is None or token is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # As the framework sets it, for the metrics by route.
        try:
            principal = await self._gate.admit(Request(scope), token, self._permission)
            message = await receive()
            body = body_of(message, self._body.model_validate)
            if body is None:
                await self._app(scope, again(message, receive), send)
                return
            response = await self._answer(**{self._subject: UUID(path[1])}, body=body, principal=principal)
        except AppError as refusal:
            response = errors.rendered(scope, refusal)
        await response(scope, receive, send)


def is_post(scope: Scope, path: str) -> bool:
    """Whether this is a POST of `path`, which is without the prefix that the host may be mounted under."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    full: str = scope["path"]
    return full.removeprefix(scope.get("root_path", "")) == path


def plain_token(scope: Scope) -> str | None:
    """The bearer token, if the request's head is plain."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    plain = (
        headers.get(b"content-type") == b"application/json"
        and length.isdigit()
        and int(length) <= BODY_BYTES_MAX
        and not scope.get("query_string")
        and b"content-encoding" not in headers
    )
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if not plain or scheme.lower() != b"bearer" or not token or b"idempotency-key" in headers:
        return None
    return token.strip().decode("latin-1") or None


def body_of(message: Message, read: Callable[[Any], Body]) -> Body | None:
    """What `read` returns for the JSON of a body that arrived whole; None if it did not, or is invalid."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    try:
        return read(parse(message.get("body", b"")))
    except (ValidationError, AppError):
        return None


def again(message: Message, receive: Receive) -> Receive:
    """A `receive` that first returns the messages that were already received."""
    held = [message]

    async def replay() -> Message:
        return held.pop() if held else await receive()

    return replay


async def answer(
    send: Send, content: bytes, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> None:
    """Sends the same messages as Starlette's Response."""
    if content_type.startswith("text/") and "charset=" not in content_type.lower():
        content_type += "; charset=utf-8"
    sent = [
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        (b"content-length", str(len(content)).encode()),
        (b"content-type", content_type.encode("latin-1")),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": sent})
    await send({"type": "http.response.body", "body": content})


def route_of(router: APIRouter, path: str) -> APIRoute:
    """The POST route of this path."""
    return next(
        route
        for route in router.routes
        if isinstance(route, APIRoute) and route.path == path and "POST" in (route.methods or ())
    )
