"""Stores pieces while more are read: threads hash, compress, encrypt and wait for the disk."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from stoa.db.backup.repository import Repository
from stoa.db.backup.types import BackupError, Piece

AT_ONCE: Final = 4
"""The limit of pieces in memory: four megabytes each, and as much again while they are compressed."""


class Storing:
    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.bytes_stored = 0
        self._free = asyncio.Semaphore(AT_ONCE)
        self._open: set[asyncio.Task[Piece]] = set()
        self._failure: OSError | None = None

    async def put(self, content: bytes) -> "asyncio.Task[Piece]":
        """Waits until there is room, then returns a task whose result is the stored piece. Raises BackupError where an
        earlier piece could not be stored."""
        await self._free.acquire()
        if self._failure is not None:
            self._free.release()
            raise self._cannot(self._failure)
        task = asyncio.create_task(self._store(content))
        self._open.add(task)
        task.add_done_callback(self._done)
        return task

    async def _store(self, content: bytes) -> Piece:
        try:
            piece, written = await asyncio.to_thread(self.repository.put, content)
        except OSError as error:
            self._failure = self._failure or error
            raise self._cannot(error) from error
        finally:
            self._free.release()
        self.bytes_stored += written
        return piece

    def _done(self, task: "asyncio.Task[Piece]") -> None:
        self._open.discard(task)
        if not task.cancelled():
            task.exception()  # The next `put`, or whoever awaits the task, raises it.

    def _cannot(self, error: OSError) -> BackupError:
        return BackupError(
            f"{error.filename or self.repository.root} cannot be written: {error.strerror or error}. What was stored"
            " until now is used by the next backup."
        )

    async def settle(self) -> None:
        await asyncio.gather(*self._open, return_exceptions=True)


@asynccontextmanager
async def storing(repository: Repository) -> AsyncGenerator[Storing]:
    """When it exits, no thread writes to the repository any more."""
    store = Storing(repository)
    try:
        yield store
    finally:
        await store.settle()
