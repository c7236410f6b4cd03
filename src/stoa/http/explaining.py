"""`?explain=access` on any route of any host: owners learn which rule refused a request."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import orjson
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa.http import errors
from stoa.http.authentication import HOST, PERMISSIONS, admitted
from stoa.http.hosts import SUBJECT
from stoa.http.traffic import SERVED
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

HEADER: Final = b"stoa-owner"
"""The header with an owner's credential, if the request's own is another one."""
BODY_BYTES_MAX: Final = 64 * 1024
_ASKED: Final = ("explain", "access")
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Explain(Protocol):
    async def __call__(
        self,
        caller: Principal | None,
        credential: str | None,
        proof: str | None,
        needs: Sequence[str],
        ids: Sequence[UUID],
        *,
        api_host: bool,
    ) -> str: ...


class Explained:
    """Wraps the app of all hosts. Other requests, and responses that are not refusals, are unchanged."""

    def __init__(self, app: ASGIApp, explain: Explain) -> None:
        self._app = app
        self._explain = explain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or b"explain=access" not in scope["query_string"]:
            await self._app(scope, receive, send)
            return
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        # Routes refuse unknown parameters.
        scope["query_string"] = urlencode([one for one in pairs if one != _ASKED]).encode()
        held = _Held(send)
        try:
            await self._app(scope, receive, held.send)
        except AppError as refusal:
            if held.begun:
                raise
            await errors.rendered(scope, refusal)(scope, receive, held.send)
        if held.start is not None:
            await self._answer(scope, held.start, held.body, send)

    async def _answer(self, scope: Scope, start: Message, body: bytes, send: Send) -> None:
        explanation = await self._explanation(scope)
        answer = _json(body)
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict):
            error["details"] = {**(error.get("details") or {}), "access": explanation}
            body = orjson.dumps(answer)
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    async def _explanation(self, scope: Scope) -> str:
        below: Scope = scope.get(SERVED, ("api", scope))[1]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        credential = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key")
        proof = headers.get(HEADER, "").removeprefix("Bearer ").strip() or None
        named = _ID.findall(f"{below.get(SUBJECT) or ''} {scope['path']}")
        ids = list(dict.fromkeys(UUID(one) for one in named))
        needs = _needs(below.get("route"))
        return await self._explain(admitted(below), credential, proof, needs, ids, api_host=HOST not in below)


class _Held:
    """Passes a response on, unless it is a refusal, which is buffered."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.start: Message | None = None
        self.begun = False
        self.body = b""

    async def send(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start" and message["status"] in (401, 403, 404):
            kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
            if kinds and kinds[0].startswith(b"application/json"):
                self.start = message
                return
        if self.start is not None and message["type"] == "http.response.body":
            if len(self.body) < BODY_BYTES_MAX:
                self.body += message.get("body", b"")
            return
        await self._send(message)


def _json(body: bytes) -> object:
    """None for a response without a body, such as that of HEAD."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _needs(route: object) -> Sequence[str]:
    """The permissions of which a route requires one."""
    if not isinstance(route, APIRoute):
        return ()
    for one in _flat(route.dependant):
        found = getattr(one.call, PERMISSIONS, None)
        if found is not None:
            permissions: Sequence[str] = found[1]
            return permissions
    return ()


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _flat(below)
