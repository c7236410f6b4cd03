"""Rewrites the database's files so that nothing deleted is left in them, not even between the rows.

A DELETE makes rows invisible; VACUUM frees their space; the bytes stay until something else is written there. They
stay in free space of pages, as words of full-text indexes, in the planner's statistics and in the write-ahead log.
Here every table is rewritten with its indexes, the statistics are taken again, and the log is switched past every
segment that contains old bytes. What lies outside of the database's directory (backups, standbys, archived log, blocks
that the file system has freed) is the operator's.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import asyncpg

from stoa.db.connecting import UnreachableError, connect
from stoa.db.engine import Tx
from stoa.db.rescan import rescan
from stoa.db.sql import load

_SQL: Final = load("stoa.db", "scrub.sql")
SNAPSHOT_SECONDS_MAX: Final = 60.0
"""How long to wait for older transactions, because the rewrite copies rows that they can still see."""
LOCK_SECONDS_MAX: Final = 30
REWRITE_SECONDS_MAX: Final = 24 * 3600.0
"""Of one table; a large one takes its time, and can be interrupted."""
SEGMENTS_MAX: Final = 1_024
"""Of the log, 16 MiB each: more than any sane max_wal_size keeps."""
SWITCHES_AT_ONCE: Final = 8
"""Between two checkpoints, so that the log does not grow by more than this meanwhile."""


class ScrubError(Exception):
    """The files could not be scrubbed; the message says why, and what remains to be done."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    tables: int
    bytes_before: int
    bytes_after: int
    deletions: int
    """Receipts that say so from now on."""
    left: Sequence[str]
    """Steps that this database user may not do, as sentences for the operator. Receipts are stamped only if there are
    none."""


async def scrub(dsn: str, tell: Callable[[str], None]) -> Scrubbed:
    """May run beside servers: each table is locked while it is rewritten, and they wait. Raises ScrubError."""
    try:
        connection = await connect(dsn, command_seconds_max=REWRITE_SECONDS_MAX)
    except UnreachableError as error:
        raise ScrubError(str(error)) from error
    tx = cast("Tx", connection)
    try:
        await tx.execute(f"SET lock_timeout = '{LOCK_SECONDS_MAX}s'")
        begun: datetime = await tx.fetchval("SELECT clock_timestamp()")
        await _outwait_snapshots(tx)
        await _look_again(tx, begun)
        tables = await tx.fetch(_SQL.tables)
        after = 0
        for row in tables:
            started = time.monotonic()
            await _rewrite(tx, row["name"])
            size = await tx.fetchval("SELECT pg_total_relation_size($1::regclass)", row["name"])
            after += size
            tell(
                f"{row['name']}: {row['bytes'] >> 10:,} KiB, now {size >> 10:,} KiB ({time.monotonic() - started:.1f}"
                " s)"
            )
        left = [*await _statistics(tx), *await _log(tx, tell)]
        stamped = 0 if left else int(await tx.fetchval(_SQL.stamp, begun))
        return Scrubbed(len(tables), sum(row["bytes"] for row in tables), after, stamped, left)
    except asyncpg.UndefinedTableError as error:
        raise ScrubError(
            "This database holds no Stoa of this version: start the server once, then run this again."
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise ScrubError(
            f"A table stayed locked for {LOCK_SECONDS_MAX} s; end what holds it, then run this again."
        ) from error
    finally:
        await connection.close()


async def _outwait_snapshots(tx: Tx) -> None:
    """A transaction that began before a deletion still sees the deleted rows, so VACUUM FULL would copy them."""
    horizon = await tx.fetchval("SELECT pg_current_xact_id()::text::bigint")
    deadline = time.monotonic() + SNAPSHOT_SECONDS_MAX
    while (oldest := await tx.fetchrow(_SQL.older, horizon)) is not None:
        if time.monotonic() > deadline:
            raise ScrubError(
                f"{oldest['what']} is open since {oldest['since']} and may still see what was deleted; end it, then"
                " run this again."
            )
        await asyncio.sleep(0.1)


async def _look_again(tx: Tx, begun: datetime) -> None:
    """The re-scan of every deletion once more, through tables of any size."""
    for row in await tx.fetch(_SQL.ids_of_deletions, begun):
        found = await rescan(tx, row["org_id"], row["ids"], every_column=True)
        if found:
            places = ", ".join(f"{place} ({rows})" for place, rows in found.items())
            raise ScrubError(
                f"Rows that should be gone are there: {places}. Please report this; nothing was rewritten."
            )


async def _rewrite(tx: Tx, table: str) -> None:
    await tx.execute(f"VACUUM (FULL) {table}")


async def _statistics(tx: Tx) -> list[str]:
    """Rebuilds the statistics. ANALYZE does not change those of empty tables, which contain values of deleted rows."""
    try:
        await tx.execute(_SQL.forget_statistics)
        await tx.execute("ANALYZE")
        await tx.execute("VACUUM (FULL) pg_catalog.pg_statistic")
    except asyncpg.InsufficientPrivilegeError:
        return [
            (
                "The planner's statistics were left as they are; as a superuser run: "
                "DELETE FROM pg_statistic; VACUUM FULL"
                " pg_statistic; ANALYZE;"
            )
        ]
    return []


async def _log(tx: Tx, tell: Callable[[str], None]) -> list[str]:
    """Overwrites or removes every present segment. Segments kept for reuse contain old bytes too, so the log is
    switched past them."""
    left: list[str] = []
    try:
        before: Sequence[str] = await tx.fetchval(_SQL.log_segments)
        await tx.execute("ALTER SYSTEM SET wal_recycle = off")
        await tx.execute("SELECT pg_reload_conf()")
        try:
            await _switch(tx, 1)
            held: Sequence[str] = await tx.fetchval(_SQL.log_segments)  # The one in use, and those kept for reuse.
            switched = 0
            while (old := len(set(held) & set(await tx.fetchval(_SQL.log_segments)))) and switched < SEGMENTS_MAX:
                switched += await _switch(tx, min(old, SWITCHES_AT_ONCE))
            if old:
                left.append(
                    f"Of the write-ahead log {old} old segments are still there; run this again when the server is"
                    " less busy."
                )
        finally:
            await tx.execute("ALTER SYSTEM RESET wal_recycle")
            await tx.execute("SELECT pg_reload_conf()")
        tell(f"write-ahead log: {len(before)} segments, now {len(await tx.fetchval(_SQL.log_segments))}")
        if await tx.fetchval(_SQL.log_is_kept):
            left.append(
                "The write-ahead log is archived or kept for a standby: what was deleted is there until you remove it."
            )
    except asyncpg.InsufficientPrivilegeError:
        left.append(
            "The write-ahead log was left as it is, since only a superuser may switch it; it is written over in the"
            " course of time."
        )
    return left


async def _switch(tx: Tx, times: int) -> int:
    """Fills so many segments with zeros, then removes those that no recovery needs any more."""
    for _ in range(times):
        await tx.execute("SELECT pg_current_xact_id()")  # WAL must be written before a switch has an effect.
        await tx.execute("SELECT pg_switch_wal()")
    await tx.execute("CHECKPOINT")
    return times
