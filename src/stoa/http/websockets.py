"""The limits of uvicorn's WebSocket protocol. Messages are read one at a time: the server does not read from a client
that sends faster than it is answered."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, Final

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Bytes of one message; larger inputs are uploaded as files."""
PING_SECONDS: Final = 20.0
"""The ping interval and timeout: proxies close a connection that is silent for a minute."""
OPTIONS: Final[dict[str, Any]] = {
    "ws_max_size": MESSAGE_BYTES_MAX,
    "ws_ping_interval": PING_SECONDS,
    "ws_ping_timeout": PING_SECONDS,
    "ws_per_message_deflate": False,  # 300 KB per connection, and a small message could become a large one.
}


def protocol(**options: Any) -> asyncio.Protocol:
    """uvicorn's protocol, loaded when a client upgrades to it: most servers never need it, and loading takes 40 ms."""
    return _protocol_class()(**options)


@cache
def _protocol_class() -> Any:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: PLC0415

    class Protocol(WebSocketsSansIOProtocol):
        """A handshake that was answered with a refusal is complete. uvicorn reports an error otherwise, and whoever has
        no key could fill the log with such lines."""

        async def send(self, message: Any) -> None:
            await super().send(message)
            if self.initial_response is not None and self.close_sent:
                self.handshake_complete = True

    return Protocol


def when_lost(protocol: Any, call: Callable[[], None]) -> None:
    """Calls the function once the protocol's connection is closed."""
    lost = protocol.connection_lost

    def connection_lost(exc: Exception | None) -> None:
        call()
        lost(exc)

    protocol.connection_lost = connection_lost
