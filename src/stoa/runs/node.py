"""This process among the others: its row, its lease, its advisory lock.

A node is dead when its lease has run out (it is frozen, or cut off) or when its advisory lock is free (its process is
gone: PostgreSQL drops the lock with the connection, so a `kill -9` is noticed at the next look, not after a lease).
Being taken for dead costs nothing but work: the epoch fence keeps a node that was wrongly given up from writing.
"""

import asyncio
import secrets
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from stoa.db import connect
from stoa.kernel.ids import Ids
from stoa.kernel.supervise import Supervisor
from stoa.runs.rules import LEASE_SECONDS, RENEW_SECONDS
from stoa.runs.store import SQL

LOCK_CLASS: Final = 21366
"""The first key of the nodes' advisory locks: as in the claim statement."""
_log = structlog.get_logger("stoa.runs.node")


class Node:
    def __init__(self, dsn: str, ids: Ids) -> None:
        self._dsn = dsn
        self.id: UUID = ids.new()
        self._lock_key = secrets.randbelow(2**31 - 1) + 1
        self._connection: asyncpg.Connection | None = None
        self._supervisor = Supervisor()
        self.others: int = 0
        """Other live nodes, as of the last renewal."""

    async def start(self) -> None:
        await self._join()
        self._supervisor.keep(self._forever, "runs.node")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.execute(SQL.remove_node, self.id)
            await self._connection.close()

    async def _join(self) -> None:
        connection = await connect(self._dsn)
        await connection.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, self._lock_key)
        await connection.execute(SQL.insert_node, self.id, self._lock_key, LEASE_SECONDS)
        await connection.execute(SQL.remove_old_nodes)
        self._connection = connection
        await self._renew()

    async def _renew(self) -> None:
        assert self._connection is not None
        row = await self._connection.fetchrow(SQL.renew_node, self.id, LEASE_SECONDS)
        assert row is not None
        self.others = row["others"]

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._join()
                await self._renew()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("lease not renewed", error=str(error))
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
