"""Bypasses the framework for the gateway's busiest route: `POST /v1/chat/completions`.

The framework's layers take a third of the time of a relayed call. A plain valid request goes from the server to `Chat`
and back. Every other request (a bad body, another media type, an Idempotency-Key, a query, no credential, a key with
`cache_seconds`) goes to the framework unchanged, so refusals and documentation exist once.
"""

from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa.gateway.router.api import ChatStream
from stoa.gateway.router.caching import HEADER
from stoa.gateway.router.chat import Chat
from stoa.http import Gate, errors
from stoa.http.disconnects import while_connected
from stoa.http.shortcut import again, answer, body_of, is_post, plain_token
from stoa.kernel.errors import AppError

PATH: Final = "/v1/chat/completions"
CACHE: Final = HEADER.lower().encode()


class DirectChat:
    """Wraps the app of the router's host. `route` is the framework's route, for the metrics by route."""

    def __init__(self, app: ASGIApp, chat: Chat, gate: Gate, route: Any) -> None:
        self._app = app
        self._chat = chat
        self._gate = gate
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = is_post(scope, PATH) and not any(name == CACHE for name, _ in scope["headers"])
        token = plain_token(scope) if wanted else None
        if token is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            principal = await self._gate.admit(Request(scope), token, "router:call")
            message = await receive()
            fields = body_of(message, _fields)
            if fields is None or principal.cache_seconds is not None:
                await self._app(scope, again(message, receive), send)
                return
            if fields.get("stream") is True:
                frames, head = await self._chat.streamed(principal, fields)
                await ChatStream(frames, head)(scope, receive, send)
                return
            whole = await while_connected(scope, receive, self._chat.whole(principal, fields))
        except AppError as refusal:
            await errors.rendered(scope, refusal)(scope, receive, send)
            return
        except ClientDisconnect:
            await errors.rendered(scope, errors.left_early())(scope, receive, send)
            return
        await answer(send, whole.content, whole.content_type, whole.headers)


def _fields(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
