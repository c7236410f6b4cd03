"""Two advisory locks that processes share through the data directory; the kernel drops them when a process dies.

    gate    exclusive, short: while a process checks, creates, starts or stops the server
    users   shared, for as long as a process uses the server; a process that can lock it exclusively is the last

The locks belong to open file descriptions, so two servers in one process count as two.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from stoa.db.embedded.errors import EmbeddedError

if sys.platform != "win32":
    import fcntl

GATE: Final = "gate.lock"
USERS: Final = "users.lock"
_POLL_SECONDS: Final = 0.02


class Use:
    """One process's use of the server: a shared lock."""

    def __init__(self, home: Path) -> None:
        """Takes the shared lock. Call with the gate locked, so that no process stops the server meanwhile."""
        self._file = _open(home / USERS)
        self._held = True
        fcntl.flock(self._file, fcntl.LOCK_SH)

    @property
    def held(self) -> bool:
        return self._held

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        if self._held:
            self._held = False
            os.close(self._file)


def in_use(home: Path) -> bool:
    """Whether any process (this one included) holds the shared lock. Call with the gate locked."""
    file = _open(home / USERS)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextlib.asynccontextmanager
async def gate(home: Path, deadline: float) -> AsyncGenerator[None]:
    """Waits for the gate until `deadline` (a `time.monotonic()`), polling: a blocking lock could not be cancelled."""
    file = _open(home / GATE)
    try:
        while not _taken(file):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Another Stoa process has been starting or stopping PostgreSQL in {home} all the while. "
                    "Look at what it is doing, then try again."
                )
            await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
