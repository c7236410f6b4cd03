"""Server-Sent Events as a plain ASGI response: pre-rendered bytes, several events per write, no object per event."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT: Final = b": heartbeat\n\n"
DIRECT_SEND: Final = "stoa.send"
"""The key of the scope for the server's own `send`. The eight layers in between only change the start of the
response."""
WRITE_BODY: Final = "stoa.write_body"
"""The key of the scope for a function that writes a chunk of the response's body, or returns False if `send` has to do
it: the response has not begun, or its client is slow. Absent with other ASGI servers."""


STREAM_CONTENT: Final[Mapping[str, Any]] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One Server-Sent Event. A comment without `data` comes while there is nothing to say.",
            "properties": {
                "id": {"type": "string", "description": "The sequence of the event: send it back as Last-Event-ID."},
                "event": {"type": "string", "description": "The type of the event."},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/StreamEvent"},
                },
            },
        }
    }
}
"""How the OpenAPI document describes a stream. `GET /v1/runs/{run_id}/events` defines the schema."""
OTHER_STREAM_CONTENT: Final[Mapping[str, Any]] = {
    "text/event-stream": {"schema": {"type": "object", "properties": {"data": {"type": "string"}}}}
}
"""The same for events of another vocabulary."""

Write = Callable[[bytes], Awaitable[None] | None]
"""Sends bytes. None: it may be called again; an awaitable has to be awaited first."""


class Frames(Protocol):
    """A stream of frames, ready to send."""

    async def deliver(self, write: Write) -> None:
        """Returns when they have ended."""
        ...

    def close(self) -> None:
        """Makes `deliver` return soon."""
        ...


class EventStream(Response):
    """Sends frames until they end or the client disconnects. Uses no database connection while it waits."""

    media_type = "text/event-stream"

    def __init__(self, frames: Frames, headers: Mapping[str, str] | None = None) -> None:
        self._frames = frames
        self.status_code = 200
        self.background = None
        self.body = b""
        # X-Accel-Buffering tells nginx not to buffer.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        super().init_headers(headers)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        send = scope.get(DIRECT_SEND, send)
        # A separate task, so that waking it does not resume the two dozen layers that wait here.
        delivering = asyncio.create_task(
            self._frames.deliver(_Writer(send, scope.get(WRITE_BODY))), name="http.sse.deliver"
        )
        watching = asyncio.create_task(self._watch(receive), name="http.sse.watch")
        try:
            await delivering
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            delivering.cancel()
            watching.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._frames.close()


class _Writer:
    """The server's `send` as a `Write`: callable from anywhere on the loop; it needs a task only if the client is
    slow."""

    def __init__(self, send: Send, write_body: Callable[[bytes], bool] | None) -> None:
        self._send = send
        self._write_body = write_body

    def __call__(self, data: bytes) -> Awaitable[None] | None:
        if self._write_body is not None and self._write_body(data):
            return None
        steps = self._send({"type": "http.response.body", "body": data, "more_body": True}).__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            return None
        return _Rest(steps, waits_for)


class _Rest(Awaitable[None]):
    """The rest of a `send` that did not complete at once."""

    def __init__(self, steps: Generator[Any, None, None], waits_for: Any) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, None, None]:
        yield self._waits_for
        yield from self._steps
