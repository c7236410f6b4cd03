"""The steps of a trace while it goes on, over as many connections as it takes."""

import json
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

import httpx

from stoa_client import types, wire
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import APIError, ConnectionFailed, ProtocolError, StreamLost
from stoa_client.sse import Decoder
from stoa_client.wire import Call

_SPAN, _END = "span", "end"


class AsyncTail:
    """An iterator over a trace's steps as they come, to the end of the trace. A step comes again when it changes:
    replace it by its `id`. A broken connection is resumed after the last step that was seen.
    """

    def __init__(self, transport: AsyncTransport, trace_id: str, response: httpx.Response | None) -> None:
        self._transport = transport
        self._trace_id = trace_id
        self._response: httpx.Response | None = response
        self._last = ""
        """The id of the last event, which the server goes on after."""
        self._steps = self._follow()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> types.Span:
        return await self._steps.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stops reading."""
        await self._steps.aclose()
        await self._hang_up()

    async def _follow(self) -> AsyncGenerator[types.Span, None]:
        failures, heard = 0, time.monotonic()
        while True:
            failure: Exception | None = None
            try:
                if self._response is None:
                    self._response = await self._transport.attempt(tail_call(self._trace_id, self._last), stream=True)
                decoder = Decoder()
                async for chunk in self._response.aiter_bytes():
                    heard = time.monotonic()
                    for frame in decoder.feed(chunk):
                        self._last = frame.id
                        if frame.event == _END:
                            return
                        if frame.event == _SPAN:
                            failures = 0
                            yield types.Span(json.loads(frame.data))
                            # The reader may take its time; that is no silence of the server's.
                            heard = time.monotonic()
            except wire.LOST as error:
                failure = error
            except ConnectionFailed as error:
                failure = error
            except APIError as error:
                if not self._transport.policy.repeats(error.status, safe=True, retry_after=error.retry_after):
                    raise
                failure = error
            finally:
                await self._hang_up()
            failures += 1
            if time.monotonic() - heard > self._transport.policy.reconnect_seconds:
                raise self._lost(failure) from failure
            await self._transport.wait(failures, failure)

    def _lost(self, failure: Exception | None) -> StreamLost:
        because = f" The last that was tried: {failure}" if failure is not None else ""
        seconds = self._transport.policy.reconnect_seconds
        return StreamLost(f"Nothing was heard of trace {self._trace_id} for {seconds:g} s.{because}")

    async def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


def tail_call(trace_id: str, last: str = "") -> Call:
    headers = {"Accept": wire.EVENT_STREAM, **({"Last-Event-ID": last} if last else {})}
    return Call("GET", wire.path("/v1/traces/{}/stream", trace_id), headers=headers)


async def open_tail(transport: AsyncTransport, trace_id: str) -> AsyncTail:
    """Raises what refuses the stream before its first event."""
    response = await transport.answer(tail_call(trace_id), stream=True)
    kind = response.headers.get("Content-Type", "")
    if not kind.lower().startswith(wire.EVENT_STREAM):
        await response.aclose()
        raise ProtocolError(
            f"{transport.base_url} answered with {kind or 'no content type'!r} instead of an event stream; look at the"
            " base URL, and for a proxy that answers by itself."
        )
    return AsyncTail(transport, trace_id, response)
