"""The keyboard while an answer is drawn: keys are not echoed, and signal handlers only count. So no signal interrupts a
drawing, and no key moves the cursor."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Keyboard:
    """`ended` is the signal that asks the command to end. Typed text appears at the next prompt."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.suspends = 0
        self.ended: int | None = None
        self._before: dict[int, Any] = {}
        self._modes: list[Any] | None = None

    @contextmanager
    def taken(self) -> Generator[None]:
        self._take()
        try:
            yield
        finally:
            self._give_back()

    @contextmanager
    def given_back(self) -> Generator[None]:
        """Restores the terminal's mode for a question, or while the command is suspended."""
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Only the main thread can set signal handlers.
        for name in ("SIGINT", "SIGTSTP", "SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is not None:
                self._before[number] = signal.signal(number, self._count)
        self._hide_keys()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self._show_keys()

    def _count(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.interrupts += 1
        elif number == getattr(signal, "SIGTSTP", None):
            self.suspends += 1
        else:
            self.ended = number

    def _hide_keys(self) -> None:
        if sys.platform == "win32" or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        import termios  # noqa: PLC0415 — exists on this platform only

        modes = termios.tcgetattr(sys.stdin)
        self._modes = list(modes)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)

    def _show_keys(self) -> None:
        if self._modes is not None:
            import termios  # noqa: PLC0415 — exists on this platform only

            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)
            self._modes = None
