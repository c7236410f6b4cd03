"""Bypasses the framework for the one route that starts every run: sending a message.

Two dozen layers wrap a route; for a short answer they cost as much as a quarter of the whole run. A plain valid request
goes directly to the route's function. Every other request (a bad body, another media type, an Idempotency-Key, no
credential) goes to the framework unchanged, so refusals and documentation exist once.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final
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
            body = self._read(message)
            if body is None:
                await self._app(scope, again(message, receive), send)
                return
            response = await self._answer(**{self._subject: UUID(path[1])}, body=body, principal=principal)
        except AppError as refusal:
            response = errors.rendered(scope, refusal)
        await response(scope, receive, send)

    def _read(self, message: Message) -> BaseModel | None:
        if message["type"] != "http.request" or message.get("more_body"):
            return None
        try:
            return self._body.model_validate(parse(message.get("body", b"")))
        except (ValidationError, AppError):
            return None


def plain_token(scope: Scope) -> str | None:
    """The bearer token, if the request's head is plain."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    plain = (
        headers.get(b"content-type") == b"application/json"
        and length.isdigit()
        and int(length) <= BODY_BYTES_MAX
        and not scope.get("query_string")
    )
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if not plain or scheme.lower() != b"bearer" or not token or b"idempotency-key" in headers:
        return None
    return token.strip().decode("latin-1") or None


def again(message: Message, receive: Receive) -> Receive:
    """A `receive` that first returns the messages that were already received."""
    held = [message]

    async def replay() -> Message:
        return held.pop() if held else await receive()

    return replay


def route_of(router: APIRouter, path: str) -> APIRoute:
    """The POST route of this path."""
    return next(
        route
        for route in router.routes
        if isinstance(route, APIRoute) and route.path == path and "POST" in (route.methods or ())
    )
