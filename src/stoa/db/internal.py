"""Transactions of the role that owns the tables, where row-level security does not apply.

For work across all tenants: finding a credential's owner, the journal writer, the workers, migrations.
The import contract "internal role" lists the modules that may import this one.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, cast

from stoa.db.engine import Database, Row, Tx

STATEMENTS_MAX: Final = 1_000


@asynccontextmanager
async def internal(database: Database) -> AsyncGenerator[Tx]:
    async with database.transaction("BEGIN") as tx:
        yield cast("Tx", _Owner(tx))


@asynccontextmanager
async def internal_statement(database: Database) -> AsyncGenerator[Tx]:
    """For one single statement, which is a transaction by itself: a third of the round trips."""
    async with database.connection() as connection:
        yield cast("Tx", _Owner(cast("Tx", connection)))


@lru_cache(STATEMENTS_MAX)
def _marked(query: str) -> str:
    return f"{query} -- owner"


class _Owner:
    """Adds a comment to the owner's statements, so that they are prepared separately from the tenants'. PostgreSQL
    plans a prepared statement again whenever the role changes between one under row-level security and one that is not,
    which costs more than running it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Tx) -> None:
        self._connection = connection

    def fetch(self, query: str, *args: Any) -> Coroutine[Any, Any, Sequence[Row]]:
        return self._connection.fetch(_marked(query), *args)

    def fetchrow(self, query: str, *args: Any) -> Coroutine[Any, Any, Row | None]:
        return self._connection.fetchrow(_marked(query), *args)

    def fetchval(self, query: str, *args: Any) -> Coroutine[Any, Any, Any]:
        return self._connection.fetchval(_marked(query), *args)

    def execute(self, query: str, *args: Any) -> Coroutine[Any, Any, str]:
        return self._connection.execute(_marked(query), *args)

    def cursor(self, query: str, *args: Any, prefetch: int | None = None) -> AsyncIterator[Row]:
        return self._connection.cursor(_marked(query), *args, prefetch=prefetch)

    def notify(self, channel: str, payload: str = "") -> None:
        self._connection.notify(channel, payload)
