"""Requests to stop the server, by signals."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator
from typing import Final

DRAINING: Final = (
    "Draining: running answers may end, then this server stops. Nothing is lost; press Ctrl-C again to stop at once."
)
NOT_READY: Final = "Stopped before the server was ready."


class Stopping:
    """The first request drains, the second ends at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def ask(self) -> None:
        if self.asked.is_set():
            self.forced.set()
        self.asked.set()

    def cancel_start_on_sigterm(self) -> None:
        """Until `ask_on_signals`, SIGTERM cancels the calling task, which then stops what it has started. asyncio does
        the same for SIGINT.

        Without a handler, process 1 of a container would ignore SIGTERM, and any other process would leave its
        database running.
        """
        starting = asyncio.current_task()
        assert starting is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, starting.cancel)

    def ask_on_signals(self) -> None:
        """From now on SIGINT and SIGTERM are requests to stop."""
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, self.ask)


@contextlib.contextmanager
def stopped_amid_start(tell: Callable[[str], None]) -> Generator[None]:
    """Wraps the run of an event loop: a start that SIGTERM has cancelled is not an error."""
    try:
        yield
    except asyncio.CancelledError:
        tell(NOT_READY)
