"""Server-Sent Events as a plain ASGI response: ready bytes, several events per write, no object per event."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT: Final = b": heartbeat\n\n"
DIRECT_SEND: Final = "stoa.send"
"""Where the edge leaves the server's own `send`: between it and us lie eight layers that care for the response's start only."""


class Frames(Protocol):
    """A stream of frames, ready to send. `close` makes the iteration end soon."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class EventStream(Response):
    """Sends frames until they end or the client goes. Holds no connection to the database while it waits."""

    media_type = "text/event-stream"

    def __init__(self, frames: Frames, headers: Mapping[str, str] | None = None) -> None:
        self._frames = frames
        self.status_code = 200
        self.background = None
        self.body = b""
        # X-Accel-Buffering tells nginx to pass events on as they come.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        super().init_headers(headers)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        send = scope.get(DIRECT_SEND, send)
        watcher = asyncio.create_task(self._watch(receive), name="http.sse.watch")
        try:
            async for frames in self._frames:
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watcher.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._frames.close()
