"""This process among the others: its row, its lease, its advisory lock.

A node is dead when its lease has run out (it is frozen, or cut off) or when its advisory lock is free (its process is
gone: PostgreSQL drops the lock with the connection, so a `kill -9` is noticed at the next look, not after a lease).
Being taken for dead costs nothing but work: the epoch fence keeps a node that was wrongly given up from writing.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from stoa.db import FAILURES, connect
from stoa.kernel.clock import Clock
from stoa.kernel.ids import Ids
from stoa.kernel.metrics import Gauge, Metric
from stoa.kernel.supervise import Supervisor
from stoa.runs.rules import LEASE_SECONDS, RENEW_SECONDS
from stoa.runs.store import SQL

LOCK_CLASS: Final = 21366
"""The first key of the nodes' advisory locks: as in the claim statement."""
ANSWER_SECONDS_MAX: Final = 1.5
"""A database that does not answer a renewal for so long is asked again over a new connection: the old one may lead nowhere."""
_log = structlog.get_logger("stoa.runs.node")


class Node:
    def __init__(self, dsn: str, ids: Ids, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self.id: UUID = ids.new()
        self._connection: asyncpg.Connection | None = None
        self._supervisor = Supervisor()
        self._roused = asyncio.Event()
        self._renewed_at = clock.monotonic()
        self._told = False
        self.lapses: int = 0
        """How often the lease had run out when it was renewed."""
        self.others: int = 0
        """Other live nodes, as of the last renewal."""
        self.on_lapsed: Callable[[], None] = lambda: None
        """Called once whenever this node finds that its lease has run out: others may have its runs."""

    def metrics(self) -> Sequence[Metric]:
        return [
            Gauge("stoa_nodes", "Nodes that live, this one among them.", lambda: self.others + 1),
            Gauge(
                "stoa_node_lapsed",
                "1 while this node's lease has run out, so that others take its runs.",
                lambda: self.lapsed,
            ),
        ]

    @property
    def lapsed(self) -> bool:
        """Whether the lease has run out, so far as this node knows: frozen, or cut off from the database."""
        return self._clock.monotonic() - self._renewed_at > LEASE_SECONDS

    async def start(self) -> None:
        await self._join()
        self._supervisor.keep(self._forever, "runs.node")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.execute(SQL.remove_node, self.id)
            await self._connection.close()

    def wake(self) -> None:
        """Renews now: another node has joined, and wants to hear what is written here."""
        self._roused.set()

    async def _join(self) -> None:
        """With a new lock each time: a connection that leads nowhere may hold the old one for hours yet."""
        connection = await connect(self._dsn)
        try:
            lock_key = secrets.randbelow(2**31 - 1) + 1
            await connection.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, lock_key)
            await connection.execute(SQL.insert_node, self.id, lock_key, LEASE_SECONDS)
            await connection.execute(SQL.remove_old_nodes)
            await connection.execute("SELECT pg_notify('stoa_runs', 'joined')")
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._gone)
        self._connection = connection
        await self._renew()

    def _gone(self, _: object) -> None:
        self._roused.set()

    async def _renew(self) -> None:
        assert self._connection is not None
        asked_at, self.lapses = self._clock.monotonic(), self.lapses + self.lapsed
        row = await self._connection.fetchrow(SQL.renew_node, self.id, LEASE_SECONDS)
        assert row is not None
        self.others, self._renewed_at, self._told = row["others"], asked_at, False

    async def _forever(self) -> None:
        while True:
            await self._pause()
            try:
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    if self._connection is None or self._connection.is_closed():
                        await self._join()
                    await self._renew()
            except FAILURES as error:
                _log.warning("lease not renewed", error=str(error) or type(error).__name__)
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                if self.lapsed and not self._told:
                    self._told = True
                    self.on_lapsed()

    async def _pause(self) -> None:
        """Until the next renewal is due. A connection that is lost is made again at once: without it the lock is free."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                await self._roused.wait()
            self._roused.clear()
            if self._connection is None:  # It was given up here, and the database is away: not so fast.
                await asyncio.sleep(RENEW_SECONDS / 4)
        except TimeoutError:
            pass
