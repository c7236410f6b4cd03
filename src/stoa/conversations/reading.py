"""Reads uploads: each file once, in the background as soon as it is stored; after a crash, again when it is first
needed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from stoa.conversations import store
from stoa.conversations.types import File, FileStatus, Reading
from stoa.db import Database
from stoa.db.blobs import BlobsUnavailable
from stoa.db.internal import internal, internal_statement
from stoa.kernel.supervise import Supervisor

READINGS_MAX: Final = 2
"""Concurrent conversions on a node: each is a process with its own memory limit."""


class Reader:
    """Long-lived. `read` is the conversion; it returns failures as values."""

    def __init__(self, database: Database, read: Callable[[File], Awaitable[Reading]]) -> None:
        self._database = database
        self._read = read
        self._places = asyncio.Semaphore(READINGS_MAX)
        self._supervisor = Supervisor()
        self._under_way: dict[UUID, asyncio.Task[None]] = {}

    async def stop(self) -> None:
        await self._supervisor.stop()

    def begin(self, file: File) -> None:
        """Starts reading in the background."""
        if file.status is FileStatus.PENDING:
            self._task(file)

    async def begin_pending(self) -> None:
        """Files whose node died before it had read them."""
        async with internal(self._database) as tx:
            for file in await store.unread_files(tx):
                self._task(file)

    async def settled(self, file: File) -> File:
        """The file once it has been read: `ready` or `failed`. Waits for a conversion in progress. Raises
        BlobsUnavailable if its content is temporarily unreachable."""
        if file.status is not FileStatus.PENDING:
            return file
        await asyncio.shield(self._task(file))
        async with internal_statement(self._database) as tx:
            read = await store.file(tx, file.org_id, file.id) or file
        if read.status is FileStatus.PENDING:
            raise BlobsUnavailable(f"The file {file.name} cannot be read just now; try again in a moment.")
        return read

    def _task(self, file: File) -> asyncio.Task[None]:
        task = self._under_way.get(file.id)
        if task is None:
            task = self._under_way[file.id] = self._supervisor.once(self._settle(file), "conversations.read")
            task.add_done_callback(lambda _: self._under_way.pop(file.id, None))
        return task

    async def _settle(self, file: File) -> None:
        async with self._places:
            reading = await self._read(file)
        async with internal(self._database) as tx:
            await store.settle_file(tx, file, reading)
