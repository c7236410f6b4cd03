"""Reads an event stream, and reconnects as often as necessary."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx

from stoa_client import wire
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import APIError, ConnectionFailed, ProtocolError, StreamLost
from stoa_client.sse import Decoder, Frame
from stoa_client.wire import Call

T = TypeVar("T")


class AsyncReader(ABC, Generic[T]):
    """The base of iterators over event streams. After a broken connection it resumes after the last event that it has
    seen. It gives up when it has received nothing for `reconnect_seconds`.
    """

    def __init__(self, transport: AsyncTransport, response: httpx.Response) -> None:
        self._transport = transport
        self._response: httpx.Response | None = response
        self._closed = False
        self._reading = False
        self._items = self._follow()

    # --- for subclasses ---------------------------------------------------------------------------------------------
    @abstractmethod
    def _again(self) -> Call:
        """The call that resumes the stream after the last event that was seen."""

    @abstractmethod
    def _take(self, frame: Frame) -> T | None:
        """The value of a frame, or None if the reader ignores it."""

    @abstractmethod
    def _over(self) -> bool:
        """Whether the stream is complete."""

    @abstractmethod
    def _lost(self, failure: Exception | None) -> StreamLost:
        """The exception after `reconnect_seconds` without data."""

    def _protocol(self, message: str) -> ProtocolError:
        return ProtocolError(message)

    def _check(self, response: httpx.Response) -> None:
        """Raises ProtocolError if the response is not an event stream."""
        kind = response.headers.get("Content-Type", "")
        if not kind.lower().startswith(wire.EVENT_STREAM):
            raise self._protocol(
                f"{self._transport.base_url} answered with {kind or 'no content type'!r} instead of an event stream; "
                "look at the base URL, and for a proxy that answers by itself."
            )

    # --- iteration --------------------------------------------------------------------------------------------------
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._reading = True
        try:
            return await self._items.__anext__()
        except BaseException as error:
            if not isinstance(error, Exception):
                # A cancellation, for example by `asyncio.wait_for`, ends a generator permanently. This makes it
                # possible to continue reading.
                self._items = self._follow()
            raise
        finally:
            self._reading = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stops reading and releases the connection. If another task is waiting for the next event, its iteration
        ends."""
        self._closed = True
        if not self._reading:
            await self._items.aclose()
        await self._hang_up()

    # --- connections ------------------------------------------------------------------------------------------------
    async def _follow(self) -> AsyncGenerator[T, None]:
        failures, heard = 0, time.monotonic()
        while not self._closed and not self._over():
            failure: Exception | None = None
            try:
                if self._response is None:
                    self._response = await self._open()
                decoder = Decoder()
                async for chunk in self._response.aiter_bytes():
                    heard = time.monotonic()
                    for frame in decoder.feed(chunk):
                        if self._closed:
                            return
                        item = self._take(frame)
                        if item is not None:
                            failures = 0
                            yield item
                            # The time that the caller takes for an event does not count as silence of the server.
                            heard = time.monotonic()
                        if self._over():
                            return
            except wire.LOST as error:
                failure = error
            except (ConnectionFailed, APIError) as error:
                failure = self._passing(error)
            finally:
                await self._hang_up()
            if self._closed:
                return
            failures += 1
            if time.monotonic() - heard > self._transport.policy.reconnect_seconds:
                raise self._lost(failure) from failure
            await self._transport.wait(failures, failure)

    async def _open(self) -> httpx.Response:
        response = await self._transport.attempt(self._again(), stream=True)
        try:
            self._check(response)
        except ProtocolError:
            await response.aclose()
            raise
        return response

    def _passing(self, error: ConnectionFailed | APIError) -> Exception:
        """Returns the error if a retry may help, otherwise raises it."""
        if isinstance(error, APIError):
            policy = self._transport.policy
            if not policy.repeats(error.status, safe=True, retry_after=error.retry_after):
                raise error
        return error

    async def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
