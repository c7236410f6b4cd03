# Written by tools/clients/carried.py from clients/python/src/stoa_client/_sync/reader.py; change that.
"""Reads an event stream, and reconnects as often as necessary."""

import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from types import TracebackType
from typing import Generic, Self, TypeVar

from stoa.cli.stream import transport as wire
from stoa.cli.stream.errors import APIError, ConnectionFailed, ProtocolError, StreamLost
from stoa.cli.stream.sse import Decoder, Frame
from stoa.cli.stream.transport import Call, Response, Transport

T = TypeVar("T")


class Reader(ABC, Generic[T]):
    """The base of iterators over event streams. After a broken connection it resumes after the last event that it has
    seen. It gives up when it has received nothing for `reconnect_seconds`.
    """

    def __init__(self, transport: Transport, response: Response) -> None:
        self._transport = transport
        self._response: Response | None = response
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

    def _check(self, response: Response) -> None:
        """Raises ProtocolError if the response is not an event stream."""
        kind = response.headers.get("Content-Type", "")
        if not kind.lower().startswith(wire.EVENT_STREAM):
            raise self._protocol(
                f"{self._transport.base_url} answered with {kind or 'no content type'!r} instead of an event stream; "
                "look at the base URL, and for a proxy that answers by itself."
            )

    # --- iteration --------------------------------------------------------------------------------------------------
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._reading = True
        try:
            return self._items.__next__()
        except BaseException as error:
            if not isinstance(error, Exception):
                # A cancellation, for example by `asyncio.wait_for`, ends a generator permanently. This makes it
                # possible to continue reading.
                self._items = self._follow()
            raise
        finally:
            self._reading = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops reading and releases the connection. If another task is waiting for the next event, its iteration
        ends."""
        self._closed = True
        if not self._reading:
            self._items.close()
        self._hang_up()

    # --- connections ------------------------------------------------------------------------------------------------
    def _follow(self) -> Generator[T, None, None]:
        failures, heard = 0, time.monotonic()
        while not self._closed and not self._over():
            failure: Exception | None = None
            try:
                if self._response is None:
                    self._response = self._open()
                decoder = Decoder()
                for chunk in self._response.iter_bytes():
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
                self._hang_up()
            if self._closed:
                return
            failures += 1
            if time.monotonic() - heard > self._transport.policy.reconnect_seconds:
                raise self._lost(failure) from failure
            self._transport.wait(failures, failure)

    def _open(self) -> Response:
        response = self._transport.attempt(self._again(), stream=True)
        try:
            self._check(response)
        except ProtocolError:
            response.close()
            raise
        return response

    def _passing(self, error: ConnectionFailed | APIError) -> Exception:
        """Returns the error if a retry may help, otherwise raises it."""
        if isinstance(error, APIError):
            policy = self._transport.policy
            if not policy.repeats(error.status, safe=True, retry_after=error.retry_after):
                raise error
        return error

    def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()
