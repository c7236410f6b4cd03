"""Sends NOTIFY after the commit that it announces, in a separate transaction.

PostgreSQL locks the notification queue of the whole server before it commits a transaction with NOTIFY, and unlocks it
after the commit, which waits for the disk and for a synchronous standby. So such commits go one after another, and no
two of them share a flush. A transaction that only sends notifications, with `synchronous_commit = off`, holds that lock
for microseconds.

A node that dies between the commit and the NOTIFY has sent nothing. So a notification only says that a table has
changed, and every receiver also polls (docs/decisions/0130). Without it a reaction comes later, and that is all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from stoa.db.servers import FAILURES, Connection, Moved, Notification
from stoa.db.sql import load
from stoa.kernel.supervise import Supervisor

GAP_SECONDS: Final = 0.02
"""How long ids wait after a transaction for more ids, because each transaction wakes every node. The first ids after a
pause are sent at once, as are all other notifications."""
ANSWER_SECONDS_MAX: Final = 2.0
RETRY_SECONDS: Final = 0.25
CLOSE_SECONDS_MAX: Final = 1.0
"""How long `close` waits for the pending notifications to be sent."""
WAITING_MAX: Final = 10_000
"""Notifications that wait while the database is not reachable. Above it the oldest are dropped, and receivers find the
changes by polling."""
PAYLOAD_BYTES_MAX: Final = 7_900
"""PostgreSQL refuses a payload of 8,000 bytes."""
SQL: Final = load("stoa.db", "notifying.sql")
_log = structlog.get_logger("stoa.db.notifying")


class Notifier:
    """Sends the notifications of one node: over one connection, opened at first use, with at most one transaction at a
    time. Notifications that arrive meanwhile are sent in the next one."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._supervisor = Supervisor()
        self._sending: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._waiting: dict[Notification, None] = {}
        self._ids: dict[str, dict[str, None]] = {}
        self._urgent = asyncio.Event()
        self._failing = False
        self.server_pid = 0
        """The backend pid of the sending connection: notifications with this origin are this node's own."""

    def send(self, notifications: Iterable[Notification]) -> None:
        """Queues notifications (channel, payload). Equal ones that wait are sent once. Never fails and never waits."""
        self._waiting.update(dict.fromkeys(notifications))
        self._urgent.set()
        self._begin()

    def send_ids(self, channel: str, ids: Iterable[str]) -> None:
        """The same for ids of one length, which wait for more ids: as many as fit are joined to one payload."""
        self._ids.setdefault(channel, {}).update(dict.fromkeys(ids))
        self._begin()

    def reconnect(self, moved: Moved | None) -> None:
        """Aborts the connection, unless it leads to the current primary."""
        if self._connection is not None and (moved is None or moved.leaves(self._connection)):
            self._connection.abort()

    async def close(self) -> None:
        """Sends the waiting notifications, for CLOSE_SECONDS_MAX at most."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=CLOSE_SECONDS_MAX)
        await self._supervisor.stop()
        if self._connection is not None:
            self._connection.terminate()

    def _begin(self) -> None:
        if self._sending is None or self._sending.done():
            self._sending = self._supervisor.once(self._send_all(), "db.notify")

    async def _send_all(self) -> None:
        while batch := self._taken():
            try:
                await self._send(batch)
            except FAILURES as error:
                if not self._failing:
                    _log.warning("NOTIFY not sent", error=str(error) or type(error).__name__)
                self._failing = True
                if self._connection is not None:
                    self._connection.terminate()
                self._waiting = {**dict.fromkeys(batch), **self._waiting}
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._failing = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(GAP_SECONDS):
                        await self._urgent.wait()

    def _taken(self) -> Sequence[Notification]:
        self._urgent.clear()
        ids, self._ids = self._ids, {}
        for channel, names in ids.items():
            self._waiting.update(dict.fromkeys((channel, payload) for payload in joined(list(names))))
        batch, self._waiting = list(self._waiting), {}
        return batch[-WAITING_MAX:]

    async def _send(self, batch: Sequence[Notification]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            # Not the pid that the connection was opened with: behind a pooler that is another one.
            self.server_pid = await self._connection.fetchval("SELECT pg_backend_pid()")
        channels, payloads = zip(*batch, strict=True)
        await self._connection.execute(SQL.notify, channels, payloads, timeout=ANSWER_SECONDS_MAX)


def joined(ids: Sequence[str]) -> list[str]:
    """Joins ids of one length to payloads."""
    if not ids:
        return []
    size = PAYLOAD_BYTES_MAX // len(ids[0])
    return ["".join(ids[start : start + size]) for start in range(0, len(ids), size)]
