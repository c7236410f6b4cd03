"""One HTTP/1.1 connection with limits. uvicorn's protocol limits neither heads, nor times, nor the number of
connections.

The write path is uvicorn's; this module checks limits while a request is read. A connection that breaks a limit gets
one response in the error envelope and is closed. `Guard.watch` sweeps uvicorn's `server_state.connections` once a
second, so that no request needs a timer.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stoa.http import websockets
from stoa.http.disconnects import WHEN_GONE
from stoa.http.raw_refusals import CROWDED, head_too_large, malformed, refusal
from stoa.http.smuggling import unsafe
from stoa.http.sse import WRITE_BODY
from stoa.kernel import descriptors
from stoa.kernel.shared_counts import Row

HEAD_BYTES_MAX: Final = 64 * 1024
"""Request line and header fields together; browsers and proxies stay below 32 KiB."""
FIELDS_MAX: Final = 200
PIPELINED_MAX: Final = 16
"""Requests that wait behind the one being answered. Hardly any client pipelines; without a bound each costs memory
before it is admitted."""
UNREAD_BYTES_MAX: Final = 64 * 1024
"""Bytes of an unread body: up to this the connection is kept open, above it is closed after the response."""
AHEAD_BYTES_MAX: Final = 1024 * 1024
"""Of the body of a request that came before the response to the one ahead of it was complete. Clients without
pipelining do this too: once they have received `Content-Length` bytes they send the next request, and the server may
not have ended its response yet. Reading is paused meanwhile, but one read may return 256 KiB, and the request being
answered may resume reading."""
SLICE_BYTES: Final = 16 * 1024
"""The parser gets its input in slices, so that an overlong head is refused before it is buffered."""
CHUNK_OVERHEAD: Final = 16
"""Bytes of chunk sizes, extensions and trailers allowed for each byte of body, beyond UNREAD_BYTES_MAX. A client that
sends more is wasting the server's time."""
SWEEP_SECONDS: Final = 1.0
_log = structlog.get_logger("stoa.http")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times are in seconds. `per_address_max` of None: any number, up to `total_max`."""

    head_seconds_max: float = 10.0
    idle_seconds_max: float = 30.0
    body_bytes_per_second_min: int = 1_000
    body_window_seconds: float = 10.0
    linger_seconds_max: float = 2.0
    """After a refusal: the client gets this long to read it before the connection is reset."""
    per_address_max: int | None = None
    total_max: int | None = None


class Guard:
    """The state that the connections of one server share: limits, and the number of connections of each address."""

    def __init__(self, limits: ConnectionLimits, shared: Row | None = None) -> None:
        """With `shared`, the connections of an address are counted over all workers of the server."""
        self.limits = limits
        self._shared = shared
        self.addresses: Counter[str] = Counter()
        self.total = 0
        self.refused: Counter[int] = Counter()
        """Requests and connections that were refused before they reached a route, by status."""

    def admit(self, address: str) -> str | None:
        """Counts a connection. Returns a sentence if it exceeds a limit (it is counted anyway, until it is closed)."""
        self.total += 1
        self.addresses[address] += 1
        held = self.addresses[address] if self._shared is None else self._shared.add(address, 1)
        limits = self.limits
        if limits.total_max is not None and self.total > limits.total_max:
            return f"This server has {limits.total_max} connections, its maximum; try again in a moment."
        if limits.per_address_max is not None and held > limits.per_address_max:
            return f"There are {limits.per_address_max} connections from this address, the maximum; close some."
        return None

    def release(self, address: str) -> None:
        self.total -= 1
        self.addresses[address] -= 1
        if self._shared is not None:
            self._shared.add(address, -1)
        if self.addresses[address] <= 0:
            del self.addresses[address]

    async def watch(self, connections: Collection[Any]) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in tuple(connections):
                if isinstance(connection, Connection):
                    connection.check(now)


class _Phase(Enum):
    NEW = auto()
    """Connected, and nothing received yet."""
    HEAD = auto()
    BODY = auto()
    BETWEEN = auto()
    """A whole request was received; the next has not begun."""
    CLOSING = auto()
    """Answered with a refusal: further input is discarded."""


class _Refused(Exception):
    """Raised in a callback of the parser to stop it; `Connection._refusal` says why."""


class Connection(HttpToolsProtocol):
    def __init__(self, guard: Guard, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guard = guard
        self._phase = _Phase.NEW
        self._since = self.loop.time()
        self._address = ""
        self._running: Any = None
        """The request that is being answered; `self.cycle` is the newest that was received."""
        self._when_gone: Callable[[], None] | None = None
        """Of the request that is being answered."""
        self._refusal: tuple[int, str, str] | None = None
        self._slice = 0
        self._raw = 0
        """Bytes fed since the head, or the body, began."""
        self._head_bytes = 0
        self._fields = 0
        self._body_bytes = 0
        self._window_bytes = 0
        self._discarded = 0
        self._plain_left = 0
        """Of a body that the parser does not see."""

    # --- the transport's calls --------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._address = self.client[0] if self.client else ""
        problem = self._guard.admit(self._address)
        if not descriptors.of_client(transport.get_extra_info("socket").fileno()):
            # Closed without waiting for the client to read it: waiting would use up the remaining descriptors.
            self._refuse(503, "unavailable", CROWDED, linger=False)
        elif problem is not None:
            self._refuse(503, "unavailable", problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.release(self._address)
        self._notify_disconnect()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES:
            self._feed(data)
            return
        for start in range(0, len(data), SLICE_BYTES):
            self._feed(data[start : start + SLICE_BYTES])

    def _feed(self, data: bytes) -> None:
        if self._phase is _Phase.CLOSING:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._slice = len(data)
        self._raw += len(data)
        if self._plain_left:
            data = self._plain_body(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(*(self._refusal or malformed(error)))
            return
        if self._phase is _Phase.HEAD and self._raw > HEAD_BYTES_MAX + SLICE_BYTES:
            self._refuse(*head_too_large(HEAD_BYTES_MAX, FIELDS_MAX))
        elif (
            self._phase is _Phase.BODY
            and self._raw > UNREAD_BYTES_MAX + SLICE_BYTES + (CHUNK_OVERHEAD + 1) * self._body_bytes
        ):
            self._refuse(400, "bad_request", "The body's chunks hold more framing than content.")

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a WebSocket, which counts towards the limits until it is closed."""
        super().handle_websocket_upgrade()
        websockets.when_lost(self.transport.get_protocol(), lambda: self._guard.release(self._address))

    def _notify_disconnect(self) -> None:
        """Tells the request that is being answered that its client has disconnected."""
        running, when_gone = self._running, self._when_gone
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            self._when_gone = None
            if when_gone is not None:
                when_gone()

    def _on_disconnect(self, when_gone: Callable[[], None] | None) -> None:
        self._when_gone = when_gone
        if when_gone is None:
            return
        if self._running.disconnected:
            self.loop.call_soon(when_gone)
        else:
            self.flow.resume_reading()  # Without reading, the close of the socket would not be noticed.

    def _write_body(self, data: bytes) -> bool:
        """Writes a chunk of the current response's body as `send` does, without an ASGI message and a coroutine."""
        running = self._running
        if not running.chunked_encoding or running.response_complete or not data or self.flow.write_paused:
            return False
        if not running.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > UNREAD_BYTES_MAX and not self.transport.is_closing():
            self.flow.pause_reading()

    def _stay(self, rest: bytes) -> None:
        """The client offers another protocol (HTTP/2 clients send `Upgrade: h2c`); the server answers in HTTP/1.1. The
        parser treats the head of such a request as its end, so its body is counted here and a new parser reads what
        follows."""
        self.parser = httptools.HttpRequestParser(self)
        if self._phase is _Phase.BODY:
            left = self._unread()
            if left == float("inf"):
                self._refuse(400, "bad_request", "An upgrade cannot be offered together with a chunked body.")
                return
            self._plain_left = int(left)
        if rest:
            self._raw -= len(rest)
            self._feed(rest)

    def _plain_body(self, data: bytes) -> bytes:
        """Passes on the body of a request that offered an upgrade; gives what comes after it."""
        body, rest = data[: self._plain_left], data[self._plain_left :]
        self._plain_left -= len(body)
        self.on_body(body)
        if not self._plain_left:
            self.on_message_complete()
        return rest

    # --- the parser's calls -----------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._phase, self._since = _Phase.HEAD, self.loop.time()
        self._raw, self._head_bytes, self._fields, self._body_bytes = self._slice, 0, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count_head(len(name) + len(value) + 4)
        if self._phase is _Phase.HEAD:  # Trailers are counted and dropped: the head was checked without them.
            super().on_header(name, value)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX or self._fields > FIELDS_MAX:
            self._stop(*head_too_large(HEAD_BYTES_MAX, FIELDS_MAX))

    def on_headers_complete(self) -> None:
        if (problem := unsafe(self.headers, self.parser.get_http_version())) is not None:
            self._stop(400, "bad_request", problem)
        if self.parser.should_upgrade() and self._should_upgrade():
            if self._announced():
                self._stop(400, "bad_request", "A WebSocket cannot be opened with a body.")
            if self.pipeline or (self._running is not None and not self._running.response_complete):
                self._stop(400, "bad_request", "A WebSocket cannot be opened ahead of the answer to another request.")
        if len(self.pipeline) >= PIPELINED_MAX:
            self._stop(400, "bad_request", "Too many requests were sent ahead of their answers.")
        self._phase, self._since = _Phase.BODY, self.loop.time()
        self._raw, self._window_bytes = self._slice, 0
        cast("dict[str, Any]", self.scope).update({WHEN_GONE: self._on_disconnect, WRITE_BODY: self._write_body})
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._window_bytes += len(body)
        super().on_body(body)
        if self.pipeline and len(self.cycle.body) > AHEAD_BYTES_MAX:
            self._stop(400, "bad_request", "A large body was sent ahead of the answer to the request before it.")

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self._announced():
            return  # There is a body, which `_stay` handles.
        self._phase, self._since = _Phase.BETWEEN, self.loop.time()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        answered = self._running
        super().on_response_complete()  # Starts the next request, if one was pipelined.
        self._when_gone = None
        self._unset_keepalive_if_required()  # The sweep handles timeouts.
        if self._phase is _Phase.BETWEEN:
            self._since = self.loop.time()
        elif self._phase is _Phase.BODY and answered is self.cycle and self._unread() > UNREAD_BYTES_MAX:
            self._linger()

    def _announced(self) -> float:
        """The length of the body according to the head; infinite if it is chunked."""
        for name, value in self.headers:
            if name == b"content-length":
                return int(value)
            if name == b"transfer-encoding":
                return float("inf")
        return 0

    def _unread(self) -> float:
        return self._announced() - self._body_bytes

    # --- ends -------------------------------------------------------------------------------------------------------
    def check(self, now: float) -> None:
        """Called by the sweep."""
        limits, waited = self._guard.limits, now - self._since
        if self._phase is _Phase.CLOSING:
            if waited > limits.linger_seconds_max:
                self.transport.abort()
        elif self._phase is _Phase.NEW:
            if waited > limits.head_seconds_max:
                self.transport.close()
        elif self._phase is _Phase.BETWEEN:
            answering = self._running is not None and not self._running.response_complete
            if not answering and waited > limits.idle_seconds_max:
                self.transport.close()
        elif self.flow.read_paused:  # Our side is the slow one.
            self._since, self._window_bytes = now, 0
        elif self._phase is _Phase.HEAD:
            if waited > limits.head_seconds_max:
                self._refuse(408, "timeout", f"The request's head took over {limits.head_seconds_max:g} seconds.")
        elif waited > limits.body_window_seconds:
            if self._window_bytes < limits.body_bytes_per_second_min * limits.body_window_seconds:
                rate = limits.body_bytes_per_second_min
                self._refuse(408, "timeout", f"The body came at less than {rate} bytes a second.")
            self._since, self._window_bytes = now, 0

    def _stop(self, status: int, code: str, message: str) -> None:
        self._refusal = (status, code, message)
        raise _Refused

    def _refuse(self, status: int, code: str, message: str, *, linger: bool = True) -> None:
        """Answers, unless another response has begun, and closes."""
        if self._phase is _Phase.CLOSING or self.transport.is_closing():
            return
        self._guard.refused[status] += 1
        running = self._running
        _log.info("refused", status=status, reason=message, client=self._address)
        if running is not None and not running.response_complete:
            self._notify_disconnect()
            if running is not self.cycle or running.response_started:
                self._phase = _Phase.CLOSING
                self.transport.close()
                return
        self.transport.write(refusal(status, code, message))
        if linger:
            self._linger()
        else:
            self._phase = _Phase.CLOSING
            self.transport.close()

    def _linger(self) -> None:
        """Half-closes. If a connection is closed while its client still sends, it is reset and the client never reads
        the response."""
        self._phase, self._since = _Phase.CLOSING, self.loop.time()
        self._discarded = 0
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        try:
            self.transport.write_eof()
        except (OSError, RuntimeError, NotImplementedError):
            self.transport.close()

    def eof_received(self) -> None:
        """The client has closed its side: an incomplete request is dropped, and the connection is closed."""
        with contextlib.suppress(AttributeError):  # The parser is removed with the connection.
            super().eof_received()
