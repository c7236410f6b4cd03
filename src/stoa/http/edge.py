"""The outermost layer of every host: request ids, body limits, the access log, and the edge at which bugs end.

A plain ASGI wrapper, because it stands around streams that live for hours and must cost nothing per event.
"""

import re
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa.http import errors
from stoa.http.sse import DIRECT_SEND
from stoa.http.traffic import Exchange, Traffic
from stoa.kernel.errors import AppError
from stoa.kernel.ids import Ids

JSON_BYTES_MAX: Final = 8 * 1024 * 1024
"""Room for a message of a million words; a file goes up as multipart."""
UPLOAD_BYTES_MAX: Final = 128 * 1024 * 1024
MULTIPART_OVERHEAD_BYTES_MAX: Final = 1024 * 1024
"""Part headers and form fields around an upload of the full size."""

EXTRA_HEADERS: Final = "stoa.headers"
"""Where whoever knows something that every answer should say leaves it, as name → value."""

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._:-]{1,128}$")
_log = structlog.get_logger("stoa.http")


class Edge:
    """Wraps an ASGI app. Gives each response an X-Request-Id (the caller's own, when it sent a sane one)."""

    def __init__(self, app: ASGIApp, ids: Ids, traffic: Traffic | None = None) -> None:
        self._app = app
        self._ids = ids
        self._traffic = traffic or Traffic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        offered = headers.get(b"x-request-id", b"")
        request_id = offered if _REQUEST_ID.match(offered) else str(self._ids.new()).encode()
        exchange = Exchange(self._traffic, scope)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.answered(message)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    *((name.lower().encode(), value.encode()) for name, value in extra.items()),
                ]
            await send(message)

        extra: dict[str, str] = {}
        scope[EXTRA_HEADERS] = (
            extra  # Here, and not where one is said: a knowledge base's host works on a copy of the scope.
        )
        scope[DIRECT_SEND] = send
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            try:
                await self._app(scope, _limited(headers, receive), send_marked)
            except AppError as refusal:
                if exchange.status == 0:
                    await errors.response(refusal)(scope, receive, send_marked)
            except Exception:  # noqa: BLE001 - an edge at which bugs end
                _log.exception("bug", method=scope["method"], path=scope["path"])
                if exchange.status == 0:
                    await _hide(send_marked)
            finally:
                exchange.ended()
                _log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=exchange.status,
                    milliseconds=round(exchange.seconds * 1000, 1),
                )


def _limited(headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """Counts the body as it comes in; refuses before reading when its length is announced."""
    multipart = headers.get(b"content-type", b"").startswith(b"multipart/")
    limit = UPLOAD_BYTES_MAX + MULTIPART_OVERHEAD_BYTES_MAX if multipart else JSON_BYTES_MAX
    announced = headers.get(b"content-length", b"")
    # Starlette's exception, because FastAPI turns every other one that is raised while it reads a body into a 400.
    refusal = HTTPException(
        413, f"The body is over the limit of {(UPLOAD_BYTES_MAX if multipart else JSON_BYTES_MAX) // 1024 // 1024} MiB."
    )
    seen = 0

    async def receive_limited() -> dict[str, Any]:
        nonlocal seen
        if announced.isdigit() and int(announced) > limit:
            raise refusal
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise refusal
        return dict(message)

    return receive_limited


async def _hide(send: Send) -> None:
    content = errors.body("internal_error", errors.INTERNAL_MESSAGE)
    await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": content})
