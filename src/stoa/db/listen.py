"""The LISTEN connection of this node.

A notification only says that a table has changed. It may be lost or arrive twice, so every receiver also polls.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from stoa.db.engine import connect
from stoa.db.servers import FAILURES, Connection, Moved
from stoa.kernel.supervise import Heartbeat, Supervisor

RECONNECT_SECONDS: Final = 0.5
ALIVE_SECONDS: Final = 2.0
"""How often an idle connection is probed."""
ANSWER_SECONDS_MAX: Final = 2.0
"""A connection that does not answer for so long is replaced: a network that drops packets reports no error."""
_log = structlog.get_logger("stoa.db.listen")


class Listener:
    """Calls `handlers[channel](payload, server_pid)` for each NOTIFY, on this event loop.

    `on_gap` is called whenever the connection was made again: notifications in between are lost.
    """

    def __init__(
        self, dsn: str, handlers: Mapping[str, Callable[[str, int], None]], on_gap: Callable[[], None]
    ) -> None:
        self._dsn = dsn
        self._handlers = handlers
        self._on_gap = on_gap
        self._supervisor = Supervisor()
        self._ready = asyncio.Event()
        self._connection: Connection | None = None
        self.heartbeat = Heartbeat("db.listen")

    async def start(self) -> None:
        """Returns once it listens."""
        self._supervisor.keep(self._forever, "db.listen", self.heartbeat)
        await self._ready.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()

    def reconnect(self, moved: Moved | None) -> None:
        """Listens over a new connection, unless this one leads to the current primary."""
        if self._connection is not None and (moved is None or moved.leaves(self._connection)):
            self._connection.abort()

    async def _forever(self) -> None:
        while True:
            try:
                await self._listen()
            except FAILURES as error:
                reason = str(error) or type(error).__name__
                _log.warning("LISTEN connection lost", error=reason, retry_seconds=RECONNECT_SECONDS)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        self.heartbeat.begin()
        connection = self._connection = await connect(self._dsn)
        lost = asyncio.Event()

        def on_terminated(_: object) -> None:
            lost.set()

        connection.add_termination_listener(on_terminated)
        try:
            for channel in self._handlers:
                await connection.add_listener(channel, self._on_notify)
            if self._ready.is_set():
                self._on_gap()
            self._ready.set()
            while not lost.is_set():
                self.heartbeat.done()
                with suppress(TimeoutError):
                    async with asyncio.timeout(ALIVE_SECONDS):
                        await lost.wait()
                self.heartbeat.begin()
                await connection.execute("SELECT 1", timeout=ANSWER_SECONDS_MAX)
        finally:
            connection.terminate()

    def _on_notify(self, _: Any, server_pid: int, channel: str, payload: object) -> None:
        self._handlers[channel](str(payload), server_pid)
