"""The databases of the session's PostgreSQL."""

import asyncpg


class Databases:
    """Makes and drops them. Called with a name, it gives the dsn of that database."""

    def __init__(self, dsn: str) -> None:
        """`dsn` is that of the database `stoa`, which the server comes with."""
        self._head, _, self._tail = dsn.partition("/stoa?")
        self._connection: asyncpg.Connection | None = None

    def __call__(self, name: str) -> str:
        return f"{self._head}/{name}?{self._tail}"

    async def execute(self, statement: str) -> None:
        """From the database `stoa`."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self("stoa"))
        await self._connection.execute(statement)

    async def copy(self, name: str, template: str = "template") -> str:
        """A new database like another that nobody is connected to; gives its dsn.

        Its files are copied: the default way, page by page through the write-ahead log, takes three times as long.
        """
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self(name)

    async def drop(self, name: str) -> None:
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
