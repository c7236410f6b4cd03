"""The journal: open, fence, append, read, follow, delete. Every run writes to one, every reader reads from one."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stoa.db import Database, Row, Tx
from stoa.db.internal import internal_statement
from stoa.events import Event, EventType
from stoa.journal.live_buffer import LiveBuffer
from stoa.journal.run_writer import Batch, RunWriter
from stoa.journal.types import Fenced, Head, JournalKey, Record
from stoa.journal.writer import SQL, JournalWriter
from stoa.kernel.principal import Principal

READ_EVENTS_MAX: Final = 1_000
READ_BYTES_MAX: Final = 64 * 1024
"""Bytes of one read: 1,000 stalled readers use 64 MB, and as much again in their connections' buffers."""
_WHOLE: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Removed:
    """What a deletion removed: rows, and bytes of payload."""

    journals: int
    events: int
    event_bytes: int


class Journal:
    def __init__(self, database: Database, writer: JournalWriter, live: LiveBuffer) -> None:
        self._database = database
        self.writer = writer
        self.live = live

    # --- writing ----------------------------------------------------------------------------------------------------
    def begin(self, key: JournalKey, first: Sequence[Event], timestamp: str) -> tuple[RunWriter, Batch]:
        """The first writer of a new journal, and its first events. The caller stores both with the run, in one
        statement, and releases the writer if that fails.
        """
        writer = self.writer.open(key, Head(1, 0, sealed=False))
        return writer, writer.batch(first, timestamp)

    async def take(self, tx: Tx, key: JournalKey) -> Head:
        """Fences off the present writer: after the commit it cannot write any more. Raises Fenced if the journal is
        sealed."""
        row = await tx.fetchrow(SQL.fence, key.org_id, key.run_id)
        if row is None:
            raise Fenced
        return _head(row)

    async def resume(self, key: JournalKey, head: Head) -> tuple[RunWriter, Record | None]:
        """A writer for a journal after `take`, and its last event. Reads all events once, for their digest."""
        digest, last = hashlib.sha256(), None
        async for records in self.all(key.org_id, key.run_id):
            for last in records:
                digest.update(last.payload + b"\n")
        return self.writer.open(key, head, digest), last

    # --- reading ----------------------------------------------------------------------------------------------------
    async def head(self, principal: Principal, run_id: UUID) -> Head | None:
        """None if the principal may not see it."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.head, principal.org_id, run_id)
        return _head(row) if row else None

    async def read(
        self, principal: Principal, run_id: UUID, after: int, limit: int = READ_EVENTS_MAX, *, whole: bool = False
    ) -> Sequence[Record]:
        """The next events, at most `limit` and READ_BYTES_MAX; with `whole` the bytes are not limited."""
        bounds = (limit, _WHOLE if whole else READ_BYTES_MAX)
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.read, principal.org_id, run_id, after, *bounds)
        return [_record(row) for row in rows]

    async def all(self, org_id: UUID, run_id: UUID) -> AsyncIterator[Sequence[Record]]:
        """Every event, in pages, for the node that executes the run."""
        after = 0
        while True:
            async with internal_statement(self._database) as tx:
                rows = await tx.fetch(SQL.read, org_id, run_id, after, READ_EVENTS_MAX, READ_BYTES_MAX)
            if not rows:
                return
            yield [_record(row) for row in rows]
            after = rows[-1]["sequence"]

    async def of_type(self, tx: Tx, org_id: UUID, run_id: UUID, kind: EventType, after: int = 0) -> Sequence[Record]:
        return [_record(row) for row in await tx.fetch(SQL.read_type, org_id, run_id, after, int(kind))]

    # --- deleting ---------------------------------------------------------------------------------------------------
    async def delete(self, tx: Tx, org_id: UUID, run_ids: Sequence[UUID]) -> Removed:
        row = await tx.fetchrow(SQL.delete, org_id, run_ids)
        assert row is not None
        return Removed(row["journals"], row["events"], row["event_bytes"])

    # --- other nodes ------------------------------------------------------------------------------------------------
    def on_notification(self, payload: str, server_pid: int) -> None:
        """A notification of channel `stoa_journal`."""
        if not self.writer.sent(server_pid):
            self.live.on_notification([payload[start : start + 32] for start in range(0, len(payload), 32)])


def _head(row: Row) -> Head:
    return Head(row["epoch"], row["last_sequence"], row["sealed"])


def _record(row: Row) -> Record:
    return Record(row["sequence"], row["kind"], row["payload"])
