"""WebSocket connections: the limits that uvicorn's protocol is configured with. Messages are read one at a time: a
client that sends faster than it is answered is not read from."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Of one message; larger inputs go up as files."""
PING_SECONDS: Final = 20.0
"""How often a silent connection is asked whether its client is there, and how long it may take to say so: proxies close
what is silent for a minute."""
OPTIONS: Final[dict[str, Any]] = {
    "ws_max_size": MESSAGE_BYTES_MAX,
    "ws_ping_interval": PING_SECONDS,
    "ws_ping_timeout": PING_SECONDS,
    "ws_per_message_deflate": False,  # 300 KB per connection, and a small message could become a large one.
}


def protocol(**options: Any) -> asyncio.Protocol:
    """uvicorn's, made when a client upgrades to it: most servers never need it, and loading it takes 40 ms."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: PLC0415

    return WebSocketsSansIOProtocol(**options)


def when_lost(protocol: Any, call: Callable[[], None]) -> None:
    """Calls once the connection of this protocol is closed."""
    lost = protocol.connection_lost

    def connection_lost(exc: Exception | None) -> None:
        call()
        lost(exc)

    protocol.connection_lost = connection_lost
