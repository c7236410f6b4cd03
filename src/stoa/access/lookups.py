"""Access keys by their hashes: look-ups that wait at the same moment share one statement.

Nothing is remembered. The statement of a look-up begins after its request has come, so a key that was revoked before is
not found.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final, TypeAlias

from stoa.access.store import SQL
from stoa.db import Database, Row
from stoa.db.internal import internal_statement
from stoa.kernel.errors import DatabaseUnavailable

STATEMENTS_MAX: Final = 4
"""At the same moment. One that hangs does not hold up the others."""
HASHES_MAX: Final = 500
"""In one statement."""
_Waiting: TypeAlias = list[tuple[bytes, "asyncio.Future[Row | None]"]]


class KeyLookups:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: _Waiting = []
        self._running: set[asyncio.Task[Mapping[bytes, Row]]] = set()
        self._scheduled = False

    async def row(self, digest: bytes) -> Row | None:
        """The key of this hash. Raises DatabaseUnavailable."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.append((digest, found))
        self._schedule(loop)
        return await found

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Requests that came in the same turn of the loop join before the statement begins."""
        if self._waiting and not self._scheduled and len(self._running) < STATEMENTS_MAX:
            self._scheduled = True
            loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        batch, self._waiting = self._waiting[:HASHES_MAX], self._waiting[HASHES_MAX:]
        task = loop.create_task(self._look_up({digest for digest, _ in batch}), name="key look-ups")
        self._running.add(task)
        task.add_done_callback(partial(self._ended, batch))
        self._schedule(loop)

    async def _look_up(self, digests: set[bytes]) -> Mapping[bytes, Row]:
        async with internal_statement(self._database) as tx:
            return {row["hash"]: row for row in await tx.fetch(SQL.keys_by_hash, list(digests))}

    def _ended(self, batch: _Waiting, task: asyncio.Task[Mapping[bytes, Row]]) -> None:
        self._running.discard(task)
        self._schedule(task.get_loop())
        error = None if task.cancelled() else task.exception()
        for digest, found in batch:
            if found.done():  # Its request was given up.
                continue
            if task.cancelled():
                found.cancel()
            elif isinstance(error, DatabaseUnavailable):
                found.set_exception(DatabaseUnavailable(error.message))  # One of its own for each traceback.
            elif error is not None:
                found.set_exception(error)
            else:
                found.set_result(task.result().get(digest))
