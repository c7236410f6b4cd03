"""This process as a node of the database: its row, its lease, its advisory lock.

The view `living_nodes` defines which nodes are alive. A living node that is taken for dead loses its jobs but corrupts
nothing: its writes are fenced by the epoch of a journal or the attempt of a job.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from stoa.db.checks import Check, Scope
from stoa.db.engine import Tx, connect
from stoa.db.notifying import SQL as NOTIFYING
from stoa.db.servers import FAILURES, Connection, Moved
from stoa.db.sql import load
from stoa.kernel.clock import Clock
from stoa.kernel.findings import Finding
from stoa.kernel.ids import Ids
from stoa.kernel.leases import RUN
from stoa.kernel.metrics import Gauge, Metric
from stoa.kernel.supervise import Supervisor

LOCK_CLASS: Final = 21366
"""The first key of the nodes' advisory locks, as in the view `living_nodes`."""
RENEW_SECONDS: Final = RUN.renew_seconds
ANSWER_SECONDS_MAX: Final = 1.5
"""After so long without an answer a renewal is repeated over a new connection."""
JOIN_SECONDS_MAX: Final = 2.5
"""The timeout to connect, and again for the lock and the row."""
SQL: Final = load("stoa.db", "leases.sql")
_log = structlog.get_logger("stoa.db.node")


class Node:
    def __init__(self, dsn: str, ids: Ids, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self.id: UUID = ids.new()
        self._connection: Connection | None = None
        self._supervisor = Supervisor()
        self._woken = asyncio.Event()
        self._renewed_at = clock.monotonic()
        self._server: object = None
        """When the server of the connection was started, which tells servers apart."""
        self._lapse_reported = False
        self.lapses: int = 0
        """How often the lease had run out when it was renewed."""
        self.others: int = 0
        """Other live nodes, as of the last renewal."""
        self.on_lapsed: Callable[[], None] = lambda: None
        """Called once whenever this node finds that its lease has run out: others may have its runs."""
        self.reconnect: list[Callable[[Moved | None], None]] = []
        """Called when connections are lost, whether they say so or not: with where the primary is now, when this node
        finds another one than before; with None when its lease has run out without an answer."""
        self.stuck_loops: Callable[[], Sequence[str]] = lambda: ()
        """Written into the node's row at each renewal, for the doctor."""

    def metrics(self) -> Sequence[Metric]:
        return [
            Gauge("stoa_nodes", "Nodes that live, this one among them.", lambda: self.others + 1, across="max"),
            Gauge(
                "stoa_node_lapsed",
                "1 while this node's lease has run out, so that others take its runs.",
                lambda: self.lapsed,
                across="max",
            ),
        ]

    @property
    def lapsed(self) -> bool:
        """Whether this node's lease has expired by its own clock: it was frozen, or is cut off from the database."""
        return self._clock.monotonic() - self._renewed_at > RUN.seconds

    async def start(self) -> None:
        await self._join()
        self._supervisor.keep(self._forever, "node.lease")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._connection is None or self._connection.is_closed():
            return
        try:  # Not essential: its lease runs out anyway.
            await self._connection.execute(SQL.remove_node, self.id, timeout=ANSWER_SECONDS_MAX)
            await self._connection.close(timeout=ANSWER_SECONDS_MAX)
        except FAILURES:
            self._connection.terminate()

    def wake(self) -> None:
        """Renews now: another node has joined, so this one must begin to send notifications."""
        self._woken.set()

    async def _join(self) -> None:
        """Takes a new lock each time, because a dead connection may keep the old one for hours."""
        connection = await connect(self._dsn, seconds_max=JOIN_SECONDS_MAX)
        try:
            async with asyncio.timeout(JOIN_SECONDS_MAX):
                await self._enter(connection)
        except BaseException:
            connection.terminate()
            raise

    async def _enter(self, connection: Connection) -> None:
        lock_key = secrets.randbelow(2**31 - 1) + 1
        await connection.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, lock_key)
        server = await connection.fetchval(SQL.insert_node, self.id, lock_key, RUN.seconds)
        await connection.execute(SQL.see_server)
        await connection.execute(SQL.remove_old_nodes)
        await connection.execute(NOTIFYING.notify, ["stoa_runs"], ["joined"])
        connection.add_termination_listener(self._on_terminated)
        self._connection = connection
        before, self._server = self._server, server
        if before not in (None, server):
            _log.warning("database server changed", before=str(before), now=str(server), address=connection.address)
            self._drop_connections(Moved(connection.address, self._renewed_at))
        await self._renew()

    def _drop_connections(self, moved: Moved | None) -> None:
        for call in self.reconnect:
            call(moved)

    def _on_terminated(self, _: object) -> None:
        self._woken.set()

    async def _renew(self) -> None:
        assert self._connection is not None
        asked_at, self.lapses = self._clock.monotonic(), self.lapses + self.lapsed
        row = await self._connection.fetchrow(SQL.renew_node, self.id, RUN.seconds, list(self.stuck_loops()))
        assert row is not None
        self.others, self._renewed_at, self._lapse_reported = row["others"], asked_at, False

    async def _forever(self) -> None:
        while True:
            await self._pause()
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._join()
                else:
                    async with asyncio.timeout(ANSWER_SECONDS_MAX):
                        await self._renew()
            except FAILURES as error:
                _log.warning("lease not renewed", error=str(error) or type(error).__name__)
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                if self.lapsed and not self._lapse_reported:
                    self._lapse_reported = True
                    self._drop_connections(None)
                    self.on_lapsed()

    async def _pause(self) -> None:
        """Until the next renewal is due. A lost connection ends the wait, because the lock is free without it."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                await self._woken.wait()
            self._woken.clear()
            if self._connection is None:  # The last attempt failed: the database is unavailable, so avoid a tight loop.
                await asyncio.sleep(RENEW_SECONDS / 4)
        except TimeoutError:
            pass


def checks() -> Sequence[Check]:
    return [
        Check(
            "nodes.loops",
            "Every background loop of every living node makes progress.",
            _stuck_loops,
            "Read that node's log. If the loop stays stuck, restart the node: others take its work over.",
        )
    ]


async def _stuck_loops(tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """Nodes belong to no organization, so only the operator's doctor looks at them."""
    if scope.org_id is None:
        for row in await tx.fetch(SQL.stuck_loops):
            yield Finding(UUID(int=0), str(row["id"]), f"no progress in {', '.join(row['stuck'])}")
