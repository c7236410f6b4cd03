"""Local copies of a bucket's objects for document readers: limited in bytes, removed when their context ends, and after
a crash at the next start."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 4 * 1024**3
"""Of all copies of a node at once. A larger file is copied alone."""


class Copies:
    """Below `root`, each process has a directory with a file that it keeps locked: a directory whose lock can be taken
    belongs to nobody."""

    def __init__(self, root: Path, bytes_max: int = BYTES_MAX) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._taken = 0
        self._room = asyncio.Condition()
        self._own: Path | None = None
        self._lock: int | None = None

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[Path]:
        """A path for a copy of `size` bytes, once there is room for it. Raises OSError."""
        async with self._room:
            await self._room.wait_for(lambda: self._taken == 0 or self._taken + size <= self._bytes_max)
            path = await asyncio.to_thread(self._new)
            self._taken += size
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            self._taken -= size
            async with self._room:
                self._room.notify_all()

    def close(self) -> None:
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def clear(self) -> None:
        """Removes what processes that died have left."""
        for directory in self._root.glob("node-*"):
            try:
                lock = os.open(directory / "lock", os.O_RDWR)
            except FileNotFoundError:
                continue  # Its owner is about to lock it, or has just removed it.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)

    def _new(self) -> Path:
        if self._own is None:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            own = Path(tempfile.mkdtemp(prefix="node-", dir=self._root))
            self._lock = os.open(own / "locking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (own / "locking").rename(own / "lock")  # It appears locked.
            self._own = own
        descriptor, name = tempfile.mkstemp(dir=self._own)
        os.close(descriptor)
        return Path(name)
