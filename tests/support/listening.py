"""A TCP server on loopback for tests, which leaves no connection behind.

`asyncio.Server.close()` closes the listening socket only. A connection that was accepted in the same turn of the loop
gets no protocol, because its transport fails to attach to the closed server. The garbage collector reports either in a
later test, where warnings are errors.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Calls `serve` for each connection, as `asyncio.start_server` does; at the end every connection is reset."""

    def __init__(
        self,
        serve: Serve,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        listening: socket.socket | None = None,
        backlog: int = 100,
    ) -> None:
        """`listening` is a bound socket to use instead of 127.0.0.1 and `port`, where 0 is any free port."""
        self._serve = serve
        self.port = port
        self._tls = tls
        self._listening = listening
        self._backlog = backlog
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()

    async def __aenter__(self) -> Self:
        place: dict[str, Any] = {"host": "127.0.0.1", "port": self.port}
        if self._listening is not None:
            place = {"sock": self._listening}
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._transports, self._serve), ssl=self._tls, backlog=self._backlog, **place
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await close_listening(self._server)
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Resets every connection."""
        for transport in list(self._transports):
            transport.abort()


async def close_listening(server: asyncio.Server) -> None:
    """Closes the listening sockets, once every accepted connection has its protocol."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _turn in range(2):  # In the first a transport is made, in the second its protocol is told.
        await asyncio.sleep(0)
    server.close()


class _Connection(asyncio.StreamReaderProtocol):
    def __init__(self, transports: set[asyncio.Transport], serve: Serve) -> None:
        super().__init__(asyncio.StreamReader(), serve)
        self._transports = transports
        self._own: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._own = transport
        self._transports.add(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._own is not None:
            self._transports.discard(self._own)
        super().connection_lost(exc)
