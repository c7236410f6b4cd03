"""How a server is asked to stop."""

import asyncio
import signal
from typing import Final

DRAINING: Final = (
    "Draining: running answers may end, then this server stops. Nothing is lost; press Ctrl-C again to stop at once."
)


class Stopping:
    """Asked to stop: once to drain, twice to end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def ask(self) -> None:
        if self.asked.is_set():
            self.forced.set()
        self.asked.set()

    def ask_on_signals(self) -> None:
        """SIGINT and SIGTERM ask from now on."""
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, self.ask)
