"""The stream of a running trace's steps, which reconnects as often as necessary."""

import json
from collections.abc import Mapping
from typing import Any, cast

import httpx

from stoa_client import types, wire
from stoa_client._async.reader import AsyncReader
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import ProtocolError, StreamLost
from stoa_client.sse import Frame
from stoa_client.wire import Call

_SPAN, _END = "span", "end"


class AsyncTail(AsyncReader[types.Span]):
    """An iterator over a trace's steps, until the trace ends. A step is yielded again when it changes: replace it by
    its `id`. A broken stream is resumed after the last step that was seen.
    """

    def __init__(self, transport: AsyncTransport, trace_id: str, response: httpx.Response) -> None:
        super().__init__(transport, response)
        self._trace_id = trace_id
        self._last = ""
        """The id of the last event, after which the server resumes."""
        self._ended = False
        self._check(response)

    def _over(self) -> bool:
        return self._ended

    def _take(self, frame: Frame) -> types.Span | None:
        self._last = frame.id
        self._ended = frame.event == _END
        if frame.event != _SPAN:
            return None
        try:
            step = json.loads(frame.data)
        except ValueError:
            step = None
        if not isinstance(step, dict):
            raise self._protocol(
                f"A step of trace {self._trace_id} is no JSON object: {frame.data[:80]!r}. Look for a proxy that "
                "changes answers, and at the base URL."
            )
        return types.Span(cast("Mapping[str, Any]", step))

    def _again(self) -> Call:
        return tail_call(self._trace_id, self._last)

    def _lost(self, failure: Exception | None) -> StreamLost:
        because = f" The last that was tried: {failure}" if failure is not None else ""
        seconds = self._transport.policy.reconnect_seconds
        return StreamLost(f"Nothing was heard of trace {self._trace_id} for {seconds:g} s.{because}")


def tail_call(trace_id: str, last: str = "") -> Call:
    headers = {"Accept": wire.EVENT_STREAM, **({"Last-Event-ID": last} if last else {})}
    return Call("GET", wire.path("/v1/traces/{}/stream", trace_id), headers=headers)


async def open_tail(transport: AsyncTransport, trace_id: str) -> AsyncTail:
    """Raises the errors that occur before the first event."""
    response = await transport.answer(tail_call(trace_id), stream=True)
    try:
        return AsyncTail(transport, trace_id, response)
    except ProtocolError:
        await response.aclose()
        raise
