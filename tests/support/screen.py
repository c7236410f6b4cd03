"""A terminal that a test can read: a command in a pseudo-terminal, and the screen that its output draws."""

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from tests.support.processes import ENVIRONMENT, STOA

_PART: Final = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b[=>]|([\r\n\x08])|([^\x1b\r\n\x08]+)")


class Screen:
    """Rows without a limit above the window, so that text which scrolled away is still there; the cursor cannot reach
    it."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self._left = ""

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)

    def feed(self, data: str) -> None:
        data, self._left = self._left + data, ""
        if (begun := re.search(r"\x1b(\[[?0-9;]*)?$", data)) is not None:
            data, self._left = data[: begun.start()], data[begun.start() :]
        for match in _PART.finditer(data):
            parameters, command, control, text = match[1], match[2], match[3], match[4]
            if text is not None:
                self._write(text)
            elif control is not None:
                self._control(control)
            elif command is not None:
                self._command(command, int(parameters.split(";")[0] or 1) if parameters.strip("?;").isdigit() else 1)

    def _control(self, control: str) -> None:
        if control == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        else:
            self.column = 0 if control == "\r" else max(self.column - 1, 0)

    def _command(self, command: str, count: int) -> None:
        top = max(len(self.lines) - self.rows, 0)
        if command == "A":
            self.row = max(self.row - count, top)
        elif command == "C":
            self.column += count
        elif command == "D":
            self.column = max(self.column - count, 0)
        elif command == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif command == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]

    def _write(self, text: str) -> None:
        for character in text:
            if self.column >= self.columns:
                self._control("\r")
                self._control("\n")
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1


class Shown:
    """A command that runs in a terminal."""

    def __init__(self, pid: int, descriptor: int, rows: int, columns: int) -> None:
        self.pid, self._descriptor = pid, descriptor
        self.screen = Screen(rows, columns)
        self.raw = ""
        self.status: int | None = None
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # The command has ended.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        text = data.decode("utf-8", "replace")
        self.raw += text
        self.screen.feed(text)
        self._changed.set()

    async def until(self, words: str, *, times: int = 1, seconds: float = 30) -> None:
        """Waits until these words are on the screen so many times."""
        try:
            async with asyncio.timeout(seconds):
                while self.screen.text.count(words) < times:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} never came:\n{self.screen.text}") from None

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        self.screen.rows, self.screen.columns = rows, columns
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    async def ended(self, seconds: float = 30) -> int:
        """The exit code; for a signal, its negative number."""
        until = time.monotonic() + seconds
        while self.status is None and time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            await asyncio.sleep(0.02)
        assert self.status is not None, self.screen.text
        return self.status

    async def stopped(self, seconds: float = 10) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return True
            await asyncio.sleep(0.02)
        return False

    async def close(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            asyncio.get_running_loop().remove_reader(self._descriptor)
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                await asyncio.to_thread(os.waitpid, self.pid, 0)
        os.close(self._descriptor)


@asynccontextmanager
async def shown(
    *arguments: str, environment: Mapping[str, str], rows: int = 30, columns: int = 80
) -> AsyncIterator[Shown]:
    """`stoa` with these arguments, in a terminal of this size."""
    main, other = os.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**ENVIRONMENT, "TERM": "xterm-256color", **environment}
    terminal = os.ttyname(other)
    # Opened by the leader of a new session, it is that session's controlling terminal: keys become signals.
    actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0), *((os.POSIX_SPAWN_DUP2, 0, one) for one in (1, 2))]
    pid = os.posix_spawn(STOA[0], [*STOA, *arguments], environment, file_actions=actions, setsid=True)
    os.close(other)
    found = Shown(pid, main, rows, columns)
    try:
        yield found
    finally:
        await found.close()
