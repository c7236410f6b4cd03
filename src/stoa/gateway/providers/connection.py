"""One HTTP/1.1 connection to a provider: a buffer that `asyncio` appends to, and one reader that it wakes."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from stoa.gateway.providers.decoding import Decoder, Undecodable
from stoa.gateway.providers.exchange import TransportError

BUFFER_BYTES_MAX: Final = 512 * 1024
"""Unread bytes of one reply: above it the socket is not read, so a fast model waits for us."""
HEADER_BYTES_MAX: Final = 64 * 1024
LINGER_SECONDS_MAX: Final = 0.25
"""A stream that has said its last word may take so long to end; then its connection is closed."""


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = self._deadline = 0.0
        self._lingering: asyncio.TimerHandle | None = None
        self._put_back: Callable[[], None] = self.abort
        self._parser: httptools.HttpResponseParser | None = None
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.buffer: list[bytes] = []
        self._buffered = self._header_bytes = 0
        self._resting = self._full = self._rang = False
        self._head_done = self.complete = self.keep_alive = self.received = False
        self._error: TransportError | None = None
        self._decoder: Decoder | None = None
        self.offer_to(None)

    # --- asyncio ----------------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        self.received, self._rang = True, False
        if self._parser is None:  # Nothing was asked: whatever this is, the connection is of no more use.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("broken", "the response is no HTTP")
        if self._take is None or not self._taken(self._take):
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed, self._rang = True, False
        if not self.complete:
            framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
            if self._head_done and not framed and exc is None:
                self.complete = True  # A body that ends with its connection.
            else:
                self._fail("broken", "the connection was closed before the response's end")
        self._wake()

    # --- httptools --------------------------------------------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            self._fail("broken", "the response's head is too large")
            self.abort()
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status, self.keep_alive = self._parser.get_status_code(), self._parser.should_keep_alive()
        self._head_done = True
        if encoding := self.headers.get("content-encoding"):
            self._decoder = Decoder(encoding)

    def on_body(self, body: bytes) -> None:
        if self._decoder is not None:
            try:
                body = self._decoder.decoded(body)
            except Undecodable as error:
                self._fail("broken", str(error))
                return
            if not body:
                return
        self.buffer.append(body)
        self._buffered += len(body)
        if self._buffered > BUFFER_BYTES_MAX and not self._full and self._transport is not None:
            self._full = True
            if not self._resting:
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.complete = True
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
                self.buffer = []
                asyncio.get_running_loop().call_soon(self._put_back)
        else:  # 100 Continue and its kin come before the response proper.
            self._head_done = False

    # --- the exchange -----------------------------------------------------------------------------------------------
    def begin(self, request: bytes) -> None:
        self._reset()
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is not None and not self.closed:
            self._transport.write(request)

    async def head(self, seconds: float) -> None:
        while not self._head_done:
            await self.arrival(seconds, "timeout")

    async def arrival(self, seconds: float, kind: str) -> None:
        """Returns after something new: bytes, the end, or a failure, which is raised."""
        self._check()
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        if self._alarm is None or self._alarm_at > self._deadline:
            self._set_alarm(loop)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._rang:
            self._rang = False
            raise TransportError(kind, f"nothing came for {seconds:g} seconds")
        self._check()

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer per connection, which is not touched by what arrives: it looks at the deadline when it rings."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = loop.call_at(self._alarm_at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._waiter is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._set_alarm(loop)
        else:
            self._rang = True
            self._wake()

    def pause(self) -> bool:
        """Leaves what comes to the kernel, until `resume`; false where that cannot be."""
        if (
            self._resting
            or self._full
            or self.closed
            or self.complete
            or self._transport is None
            or self._transport.is_closing()
        ):
            return False
        self._resting = True
        self._transport.pause_reading()
        return True

    def resume(self) -> None:
        if self._resting:
            self._resting = False
            self._read_on()

    def linger(self, put_back: Callable[[], None]) -> None:
        """Waits a moment for the end of a body that nobody reads any more; then `put_back` decides what becomes of the
        connection."""
        self._put_back = put_back
        self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS_MAX, self.abort)

    def offer_to(
        self, take: Callable[[bytes], bool] | None, silence: float = 0.0, after: Callable[[], None] | None = None
    ) -> None:
        """See `Reply.offer_to`. `silence` is the longest gap, `after` is called after each chunk that was taken."""
        self._take, self._silence, self._after_take = take, silence, after

    def _taken(self, take: Callable[[bytes], bool]) -> bool:
        """Whether what has just come was taken without waking the reader."""
        waiter = self._waiter
        if waiter is None or waiter.done() or not self.buffer or self.complete or self._error is not None:
            return False
        if not take(self.buffer[0] if len(self.buffer) == 1 else b"".join(self.buffer)):
            return False
        self._empty()
        self._deadline = asyncio.get_running_loop().time() + self._silence
        if self._after_take is not None:
            self._after_take()
        return True

    def take(self) -> bytes:
        data = b"".join(self.buffer)
        self._empty()
        return data

    def _empty(self) -> None:
        self.buffer, self._buffered = [], 0
        if self._full:
            self._full = False
            self._read_on()

    def _read_on(self) -> None:
        if (
            not (self._resting or self._full or self.closed)
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._transport.resume_reading()

    def abort(self) -> None:
        self.closed = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            self._transport.abort()

    def _check(self) -> None:
        if self._error is not None and not self.buffer:
            raise self._error
        if self.closed and not self.complete and not self.buffer:
            raise TransportError("broken", "the connection was closed before the response's end")

    def _fail(self, kind: str, message: str) -> None:
        self._error = self._error or TransportError(kind, message)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
