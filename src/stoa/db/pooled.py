"""A transaction behind a pooler in transaction mode, where a session ends with its transaction."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import asyncpg

from stoa.db.servers import Connection

PREFETCH: Final = 50
_numbers = count()


class Pooled:
    """The driver's cursors prepare a named statement, which stays in the session after the transaction and can collide
    with another node's. This uses SQL cursors, which end with the transaction."""

    __slots__ = ("_connection", "execute", "fetch", "fetchrow", "fetchval", "notify")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.fetch = connection.fetch
        self.fetchrow = connection.fetchrow
        self.fetchval = connection.fetchval
        self.execute = connection.execute
        self.notify = connection.notify

    async def cursor(self, query: str, *args: Any, prefetch: int | None = None) -> AsyncIterator[asyncpg.Record]:
        name = f"stoa_{next(_numbers)}"
        await self._connection.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {query}", *args)
        while rows := await self._connection.fetch(f"FETCH {prefetch or PREFETCH} FROM {name}"):
            for row in rows:
                yield row
        await self._connection.execute(f"CLOSE {name}")
