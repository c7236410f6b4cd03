"""Backups that a server takes by itself.

A separate process takes each one, `stoa backup`, so that reading a whole database does not block the server's event
loop. The directory of backups shows when one is due; no node is in charge. Where several nodes find one due at once,
the directory's lock admits one of them.
"""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from stoa.db.backup import rules
from stoa.db.backup.repository import identities
from stoa.db.checks import Check, Scope
from stoa.db.engine import Tx
from stoa.kernel.clock import Clock
from stoa.kernel.findings import Finding
from stoa.kernel.metrics import Counter, Gauge, Labels, Metric
from stoa.kernel.supervise import Supervisor

POLL_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 600.0
"""The wait after a failed backup."""
STOP_SECONDS_MAX: Final = 5.0
BUSY: Final = 75
"""The exit code of a backup that found another process at work (`EX_TEMPFAIL`)."""
_log = structlog.get_logger("stoa.backup")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`command` takes a backup into `directory`. It prints one line of JSON, or the reason of its failure on stderr."""

    directory: Path
    cron: str
    command: Sequence[str]
    environment: Mapping[str, str]


class Backups:
    def __init__(self, schedule: Schedule | None, clock: Clock, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._schedule = schedule
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._supervisor = Supervisor()
        self._not_before = 0.0
        self._newest: datetime | None = None
        self._taken = Counter(
            "stoa_backups", "Backups that this node has tried to take.", ("outcome",), [("taken",), ("failed",)]
        )

    async def start(self) -> None:
        if self._schedule is not None:
            self._supervisor.keep_every(self._poll_seconds, self.turn, "db.backup")

    async def stop(self) -> None:
        await self._supervisor.stop()

    def metrics(self) -> Sequence[Metric]:
        age = "Since the moment that the newest backup holds; nothing where the server takes none."
        return [self._taken, Gauge("stoa_backup_age_seconds", age, self._age, across="max")]

    def checks(self) -> Sequence[Check]:
        return [
            Check(
                "backups.overdue",
                "Where backups are scheduled, the last one is not missing or late.",
                self._overdue,
                "The server's log says why it failed (`the backup failed`); or take one by hand: stoa backup",
            )
        ]

    async def turn(self) -> None:
        """Takes a backup if one is due."""
        schedule = self._schedule
        if schedule is None:
            return
        now = self._clock.now()
        self._newest = await asyncio.to_thread(newest, schedule.directory, now)
        if self._clock.monotonic() < self._not_before or now < rules.due_at(schedule.cron, self._newest, now):
            return
        status, output, problem = await self._take(schedule)
        if status == BUSY:
            return
        if status != 0:
            self._taken.add("failed")
            self._not_before = self._clock.monotonic() + RETRY_SECONDS
            _log.error("the backup failed", directory=str(schedule.directory), reason=problem, status=status)
            return
        self._taken.add("taken")
        self._newest = await asyncio.to_thread(newest, schedule.directory, self._clock.now())
        _log.info("backup taken", directory=str(schedule.directory), **_summary(output))

    async def _take(self, schedule: Schedule) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *schedule.command, env=dict(schedule.environment), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            output, problem = await process.communicate()
        finally:
            await _end(process)
        return process.returncode or 0, output.decode(errors="replace"), problem.decode(errors="replace").strip()

    def _age(self) -> float | Mapping[Labels, float]:
        return {} if self._newest is None else (self._clock.now() - self._newest).total_seconds()

    async def _overdue(self, tx: Tx, scope: Scope) -> AsyncIterator[Finding]:  # noqa: ARG002 — the directory says it
        if self._schedule is None or scope.org_id is not None:  # Backups concern the server's operator only.
            return
        scope.looked_at(1)
        now = self._clock.now()
        found = await asyncio.to_thread(newest, self._schedule.directory, now)
        if problem := rules.overdue(self._schedule.cron, found, now):
            yield Finding(UUID(int=0), str(self._schedule.directory), problem)


def newest(directory: Path, now: datetime) -> datetime | None:
    found = rules.newest(identities(directory), now)
    return None if found is None else rules.taken_at(found)


async def _end(process: Process) -> None:
    """Ends a running backup. It leaves nothing that looks like a complete one."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _summary(line: str) -> Mapping[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return {
        name: found[name] for name in ("id", "rows", "files", "bytes_stored", "seconds", "damaged") if name in found
    }
