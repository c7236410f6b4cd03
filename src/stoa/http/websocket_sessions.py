"""An exchange of messages over a WebSocket: they are read one at a time, for the route that serves it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stoa.http.sse import Frames
from stoa.kernel.errors import AppError, Forbidden, Unauthorized

IDLE_SECONDS_MAX: Final = 600.0
"""The idle timeout: nothing is followed, and no message arrives."""
NORMAL: Final = 1000
POLICY: Final = 1008
RESTART: Final = 1012


def check_origin(socket: WebSocket, origins: Collection[str]) -> None:
    """Browsers let every page open a WebSocket to any server; here only pages that may call the API can. Raises
    Forbidden."""
    origin = socket.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return
    if urlsplit(origin).netloc != socket.headers.get("host"):
        raise Forbidden(f"Pages of {origin[:200]} may not open this connection (STOA_CORS_ORIGINS).")


def connection_of(socket: WebSocket) -> HTTPConnection:
    """For a gate that checks every message, so that a revoked key can send no more."""
    return HTTPConnection(dict(socket.scope))


class WebSocketSession(ABC):
    """One connection. It always has a pending read, so that pings are answered while a run is followed."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._frames: Frames | None = None
        """Of the run that is followed."""
        self._following: asyncio.Task[None] | None = None

    @abstractmethod
    async def take(self, text: bytes) -> None:
        """Handles one message of the client. The route answers with a raised AppError."""

    @abstractmethod
    async def refuse(self, refusal: AppError) -> None:
        """Sends the refusal in the format of this route."""

    def follow(self, frames: Frames, following: Coroutine[Any, Any, None], run_id: UUID) -> None:
        """Runs `following`, which calls `deliver` first; the idle timeout does not apply meanwhile."""
        self._frames = frames
        self._following = asyncio.create_task(following, name=f"socket {run_id}")

    async def deliver(self, frames: Frames) -> None:
        try:
            await frames.deliver(self._written)
        finally:
            self._following = self._frames = None

    def _written(self, lines: bytes) -> Awaitable[None]:
        return asyncio.create_task(self.send_lines(lines))

    async def go_on(self) -> None:
        """Runs until the connection ends."""
        try:
            while self._socket.application_state is WebSocketState.CONNECTED:
                try:
                    async with asyncio.timeout(IDLE_SECONDS_MAX):
                        text = await self._read()
                except TimeoutError:
                    if self._following is None:
                        await self.close(NORMAL, "nothing was said for ten minutes")
                    continue
                await self._taken(text)
        except WebSocketDisconnect:
            pass
        finally:
            await self._let_go()

    async def _taken(self, text: bytes) -> None:
        try:
            await self.take(text)
        except (Unauthorized, Forbidden) as refusal:
            await self.refuse(refusal)
            await self.close(POLICY, refusal.code)
        except AppError as refusal:
            await self.refuse(refusal)

    async def _let_go(self) -> None:
        """Stops following; the followed run continues."""
        following = self._following
        if self._frames is not None:
            self._frames.close()
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _read(self) -> bytes:
        """The next message. Raises WebSocketDisconnect."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", NORMAL))
        text = message.get("text")
        return text.encode("utf-8", "surrogatepass") if text is not None else message["bytes"]

    async def send(self, value: Mapping[str, Any]) -> None:
        await self.send_lines(orjson.dumps(value))

    async def send_lines(self, lines: bytes) -> None:
        """Each line is a message."""
        with suppress(WebSocketDisconnect, RuntimeError):  # The reading side notices it too, and ends this.
            for line in lines.split(b"\n"):
                if line:
                    await self._socket.send_text(line.decode())

    async def close(self, code: int, reason: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason)
