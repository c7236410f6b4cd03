"""The outermost layer of every host: request ids, body limits, the access log, and the handler of unexpected
exceptions.

A plain ASGI wrapper, because it wraps streams that last for hours and must cost nothing per event.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa.http import errors
from stoa.http.bodies import ALLOWANCE, Allowance
from stoa.http.sse import DIRECT_SEND
from stoa.http.traffic import Exchange, Traffic
from stoa.kernel import descriptors
from stoa.kernel.errors import AppError
from stoa.kernel.ids import Ids
from stoa.kernel.origin import ORIGIN, Origin
from stoa.kernel.storable import as_storable

EXTRA_HEADERS: Final = "stoa.headers"
"""The key of the scope for response headers that inner layers add (name → value)."""

CONSTANT_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
"""Headers of every response: browsers do not guess content types, and links send no URL with an id to another
site."""
HTML_POLICY: Final = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""For every page without its own policy. Nothing is loaded from another site."""

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._:-]{1,128}$")
AGENT_BYTES_MAX: Final = 200
PATH_CHARACTERS_MAX: Final = 500
_SECRET: Final = re.compile(r"(stoa_[a-z]{3,4}_)[A-Za-z0-9]+")
"""Secrets in a path: the URL of a webhook, a link that signs in once."""
_log = structlog.get_logger("stoa.http")


class Edge:
    """Wraps an ASGI app. Gives each response an X-Request-Id (the caller's own, when it sent a sane one)."""

    def __init__(self, app: ASGIApp, ids: Ids, traffic: Traffic | None = None) -> None:
        self._app = app
        self._ids = ids
        self._traffic = traffic or Traffic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
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
                    *_added(message["status"], message.get("headers", ())),
                    *((name.lower().encode(), value.encode()) for name, value in extra.items()),
                ]
            await send(message)

        extra: dict[str, str] = {}
        # Created here, where all layers see them: a host below uses a copy of the scope.
        scope[EXTRA_HEADERS] = extra
        scope[ALLOWANCE] = allowance = Allowance()
        scope[DIRECT_SEND] = send
        token = ORIGIN.set(_origin(scope, headers, request_id))
        bound = structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        try:
            await self._app(scope, _limited(headers, receive, allowance, exchange), send_marked)
        except AppError as refusal:
            if exchange.status == 0:
                await errors.rendered(scope, refusal)(scope, receive, send_marked)
        except HTTPException as refusal:
            if exchange.status == 0:
                await errors.http_response(scope, refusal)(scope, receive, send_marked)
        except Exception as error:  # noqa: BLE001 - an edge at which bugs end
            _log_failure(error, scope, begun=exchange.status != 0)
            if exchange.status == 0:
                await errors.rendered(scope, errors.unexpected(error))(scope, receive, send_marked)
        finally:
            ORIGIN.reset(token)
            exchange.ended()
            _log.info(
                "request",
                method=scope["method"],
                path=_shown(scope["path"]),
                status=exchange.status,
                milliseconds=round(exchange.seconds * 1000, 1),
            )
            structlog.contextvars.reset_contextvars(**bound)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A connection has one id and one log line, whatever its messages."""
        request_id = str(self._ids.new())
        scope[EXTRA_HEADERS] = {}
        begun = monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send)
            except Exception:  # noqa: BLE001 - an edge at which bugs end
                _log.exception("bug", method="WEBSOCKET", path=scope["path"])
                with suppress(RuntimeError):  # It may be closed already.
                    await send({"type": "websocket.close", "code": 1011})
            finally:
                seconds = monotonic() - begun
                _log.info("websocket", path=scope["path"], seconds=round(seconds, 1))


def _log_failure(error: Exception, scope: Scope, *, begun: bool) -> None:
    """Logs a failure that no response reports. `begun`: the response had begun, so the framework wraps a refusal."""
    method, path = scope["method"], _shown(scope["path"])
    if descriptors.exhausted(error):
        _log.warning("no file descriptor is left", method=method, path=path)
    elif begun and isinstance(error.__cause__, AppError):
        _log.warning("an answer broke off", method=method, path=path, reason=error.__cause__.message)
    else:
        _log.exception("bug", method=method, path=path)


def _origin(scope: Scope, headers: Mapping[bytes, bytes], request_id: bytes) -> Origin:
    client = scope.get("client")
    agent = headers.get(b"user-agent", b"")[:AGENT_BYTES_MAX].decode("latin-1")
    path = _shown(scope["path"])[:PATH_CHARACTERS_MAX]
    return Origin(
        request_id.decode("latin-1"),
        scope["method"],
        as_storable(path),
        client[0] if client else None,
        as_storable(agent) or None,
    )


def _shown(path: str) -> str:
    """A path without secrets, for the log."""
    return _SECRET.sub(r"\1…", path) if "stoa_" in path else path


def _added(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers of every response that it does not set itself."""
    present = {name for name, _ in headers}
    for name, value in CONSTANT_HEADERS:
        if name not in present:
            yield name, value
    if status in (429, 503) and b"retry-after" not in present:
        yield b"retry-after", str(errors.RETRY_AFTER_SECONDS).encode()
    if b"content-security-policy" not in present and any(
        name == b"content-type" and value.startswith(b"text/html") for name, value in headers
    ):
        yield b"content-security-policy", HTML_POLICY


def _limited(headers: dict[bytes, bytes], receive: Receive, allowance: Allowance, exchange: Exchange) -> Receive:
    """Counts the body while it is received, and refuses before reading if its announced length is too large.

    Raises Starlette's exception, because FastAPI turns every other one that is raised while it reads a body into a 400.
    """
    announced = headers.get(b"content-length", b"")
    length = int(announced) if announced.isdigit() else 0
    seen = 0

    async def receive_limited() -> dict[str, Any]:
        nonlocal seen
        if exchange.status == 0 and length > allowance.bytes_max:
            raise HTTPException(413, allowance.message)
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > allowance.bytes_max:
                # The app waits for the disconnect; a client that still sends is treated as disconnected.
                if exchange.status:
                    return {"type": "http.disconnect"}
                raise HTTPException(413, allowance.message)
        return dict(message)

    return receive_limited
