"""NOTIFY as nudges: one LISTEN connection per node. A nudge may be lost or doubled; whoever hears it goes back to the table."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from stoa.db.engine import FAILURES, connect
from stoa.kernel.supervise import Supervisor

RECONNECT_SECONDS: Final = 0.5
ALIVE_SECONDS: Final = 5.0
"""How often an idle connection is asked whether it still lives."""
_log = structlog.get_logger("stoa.db.listen")


class Listener:
    """Calls `handlers[channel](payload, server_pid)` for each NOTIFY, on this loop; `on_gap` after any time spent deaf."""

    def __init__(
        self, dsn: str, handlers: Mapping[str, Callable[[str, int], None]], on_gap: Callable[[], None]
    ) -> None:
        self._dsn = dsn
        self._handlers = handlers
        self._on_gap = on_gap
        self._supervisor = Supervisor()
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Returns once it listens."""
        self._supervisor.keep(self._forever, "db.listen")
        await self._ready.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def _forever(self) -> None:
        while True:
            try:
                await self._listen()
            except FAILURES as error:
                _log.warning("deaf", error=str(error), retry_seconds=RECONNECT_SECONDS)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await connect(self._dsn)
        try:
            for channel in self._handlers:
                await connection.add_listener(channel, self._heard)
            if self._ready.is_set():
                self._on_gap()
            self._ready.set()
            while not connection.is_closed():
                await asyncio.sleep(ALIVE_SECONDS)
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _heard(self, _: Any, server_pid: int, channel: str, payload: object) -> None:
        self._handlers[channel](str(payload), server_pid)
