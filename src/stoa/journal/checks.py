"""The doctor's checks of journals: no gaps, one terminal event and nothing after it, a correct hash."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Database, Row, Tx, load
from stoa.db.checks import Check, Scope, stated_by_day
from stoa.db.internal import internal
from stoa.journal.types import TERMINAL_TYPES
from stoa.kernel.findings import Finding

SQL: Final = load("stoa.journal", "checks.sql")
BATCH: Final = 200
"""Journals that one statement reads to compute their hashes."""
_LOST: Final = "Nothing can be put right here: restore the database from a backup, or delete the conversation."


def checks(database: Database) -> Sequence[Check]:
    return [
        Check(
            "journal.gaps",
            "The events of every journal are numbered 1, 2, 3 … up to its head.",
            stated_by_day(SQL.gaps),
            _LOST,
            by_day=True,
        ),
        Check(
            "journal.orphaned_events",
            "Every event belongs to a journal.",
            stated_by_day(SQL.orphaned_events),
            _LOST,
            by_day=True,
        ),
        Check(
            "journal.terminals",
            "Every journal has at most one terminal event.",
            stated_by_day(SQL.terminals),
            _LOST,
            by_day=True,
        ),
        Check(
            "journal.after_the_end",
            "Nothing follows a terminal event.",
            stated_by_day(SQL.after_the_end),
            _LOST,
            by_day=True,
        ),
        Check(
            "journal.seals",
            "A journal is sealed if, and only if, its last event is terminal.",
            stated_by_day(SQL.seals),
            "The repair seals a journal whose last event is terminal. "
            "One that is sealed without an end is left as it is.",
            partial(_seal, database),
            by_day=True,
        ),
        Check(
            "journal.hashes",
            "The hash in every terminal event is that of the stored bytes before it.",
            _false_hashes,
            _LOST,
            by_day=True,
        ),
    ]


async def _false_hashes(tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """Reads every byte once, without buffering; several journals per statement."""
    batch: list[Row] = []
    async for row in tx.cursor(SQL.sealed, scope.org_id, scope.since, scope.until, prefetch=BATCH):
        batch.append(row)
        if len(batch) == BATCH:
            async for finding in _false_hashes_of(tx, batch):
                yield finding
            scope.looked_at(len(batch))
            batch.clear()
    async for finding in _false_hashes_of(tx, batch):
        yield finding
    scope.looked_at(len(batch))


async def _false_hashes_of(tx: Tx, journals: Sequence[Row]) -> AsyncIterator[Finding]:
    digest, events, ended = hashlib.sha256(), 0, False
    run_id: UUID | None = None
    columns = [row["org_id"] for row in journals], [row["run_id"] for row in journals]
    async for event in tx.cursor(SQL.payloads, *columns, prefetch=1_000):
        if event["run_id"] != run_id:
            digest, events, ended, run_id = hashlib.sha256(), 0, False, event["run_id"]
        if ended:
            continue
        if event["kind"] in TERMINAL_TYPES:
            ended = True
            claimed, true = _log(event["payload"]), {"events": events, "sha256": digest.hexdigest()}
            if claimed != true:
                detail = f"its end says {_described(claimed)}; stored are {_described(true)}"
                yield Finding(event["org_id"], str(run_id), detail)
        digest.update(event["payload"] + b"\n")
        events += 1


def _log(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)["data"]["log"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _described(log: Any) -> str:
    return (
        f"{log.get('events')} events, sha256 {str(log.get('sha256'))[:12]}…"
        if isinstance(log, dict)
        else "nothing that can be read"
    )


async def _seal(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.seal, finding.org_id, UUID(finding.subject)) is not None
