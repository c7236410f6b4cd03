"""Runs the checks one after another, each in read-only transactions and within a time limit.

A check `by_day` runs day by day, the newest first. A day without findings whose rows can no longer change is remembered
and not checked again, unless a full check is asked for. So a check whose time runs out continues with the next call,
and later calls check only the last days.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

import structlog

from stoa.db import Database, Tx
from stoa.db.blobs import BlobsUnavailable
from stoa.db.checks import Check, Scope
from stoa.db.internal import internal
from stoa.doctor import rules, store
from stoa.doctor.types import DataLocation, Day, Diagnosis, Repaired, Report
from stoa.kernel.clock import Clock
from stoa.kernel.errors import RateLimited, Unavailable
from stoa.kernel.findings import Finding, Timeline
from stoa.kernel.principal import Principal

FINDINGS_MAX: Final = 10_000
"""Findings per check. More findings of one kind have one cause; ten thousand show it."""
SECONDS_MAX: Final = 300.0
"""Per check, for an operator."""
REQUEST_SECONDS_MAX: Final = 4.0
"""All checks together, for a request over HTTP."""
CHECK_SECONDS_MIN: Final = 1.0
"""The minimum time for a check while there is time left, even if its equal share is less: on a busy machine a check is
sometimes slow, and the server is still healthy."""
_log = structlog.get_logger("stoa.doctor")

Looking = Callable[[Check, Day, int], None]
"""Reports progress of a check: the day, and how many rows it has checked so far."""
Transaction = Callable[[], AbstractAsyncContextManager[Tx]]


def _nobody_looks(check: Check, day: Day, things: int, /) -> None:
    """Ignores progress."""


@dataclass(slots=True)
class _Examination:
    """The parameters of one call: whose rows, the time limit, and whether days without findings are remembered."""

    transaction: Transaction
    scope: Scope
    seconds_max: float
    """For each check, or for all of them if `together`."""
    looking: Looking
    days: Sequence[Day]
    verified: Mapping[str, Mapping[datetime, datetime]]
    """By check: the end of each verified day by its start."""
    remember: bool
    together: bool = False

    def days_of(self, check: Check) -> Sequence[Day]:
        if not check.by_day or self.scope.since is not None:
            return [Day(self.scope.since, None, settled=False)]
        found = rules.unverified(self.days, self.verified.get(check.name, {}))
        return found if self.remember else rules.joined(found)


@dataclass(slots=True)
class _Found:
    """What a check has found so far."""

    findings: list[Finding] = field(default_factory=list[Finding])
    status: Literal["complete", "stopped", "failed"] = "complete"
    more: bool = False
    days_left: int = 0
    looked_at: int = 0


class Doctor:
    """`timeline` says how far back the rows go, in a transaction of the internal role."""

    def __init__(
        self,
        database: Database,
        checks: Sequence[Check],
        timeline: Callable[[Tx], Awaitable[Timeline]],
        clock: Clock,
        data: DataLocation,
    ) -> None:
        self._database = database
        self._checks = checks
        self._timeline = timeline
        self._clock = clock
        self._data = data
        self._busy = asyncio.Lock()

    async def ask(self, principal: Principal, scope: Scope) -> Report:
        """Checks the caller's organization under row-level security, without the days that an operator's call has
        verified. One at a time on a node."""
        if self._busy.locked():
            raise RateLimited("The doctor is at work on this server; ask again in a moment.", retry_after_seconds=5)
        async with self._busy:
            scope = replace(scope, org_id=principal.org_id)
            days, verified = await self._days()
            async with internal(self._database) as tx:
                data = self._data if await store.is_operators(tx, principal.org_id) else None
            return await self._examine(
                _Examination(
                    lambda: self._database.tenant(principal, every_owner=True),
                    scope,
                    REQUEST_SECONDS_MAX,
                    _nobody_looks,
                    days,
                    verified,
                    remember=False,
                    together=True,
                ),
                data,
            )

    async def examine(
        self, scope: Scope, *, seconds_max: float = SECONDS_MAX, looking: Looking = _nobody_looks, full: bool = False
    ) -> Report:
        """All organizations, for the operator of the database. With `full` also the days that were verified before."""
        days, verified = await self._days()
        return await self._examine(
            _Examination(
                lambda: internal(self._database),
                scope,
                seconds_max,
                looking,
                days,
                {} if full else verified,
                remember=True,
            ),
            self._data,
        )

    async def repair(self, report: Report) -> AsyncIterator[Repaired]:
        """Repairs what is safe, finding by finding. Run the checks again afterwards: one finding may have hidden
        another."""
        checks = {check.name: check for check in self._checks}
        for diagnosis in report.diagnoses:
            repair = checks[diagnosis.name].repair
            for finding in diagnosis.findings if repair is not None else ():
                assert repair is not None
                done = await repair(finding)
                _log.warning(
                    "repaired" if done else "not repaired",
                    check=diagnosis.name,
                    org_id=str(finding.org_id),
                    subject=finding.subject,
                )
                yield Repaired(diagnosis.name, finding, done)

    async def _days(self) -> tuple[Sequence[Day], Mapping[str, Mapping[datetime, datetime]]]:
        async with internal(self._database) as tx:
            days = rules.days(await self._timeline(tx), self._clock.now())
            return days, await store.verified_days(tx)

    async def _examine(self, examination: _Examination, data: DataLocation | None) -> Report:
        checked_at = self._clock.now()
        diagnoses: list[Diagnosis] = []
        end = self._clock.monotonic() + examination.seconds_max
        for number, check in enumerate(self._checks):
            left = end - self._clock.monotonic()
            share = min(left, max(CHECK_SECONDS_MIN, left / (len(self._checks) - number)))
            seconds_max = share if examination.together else examination.seconds_max
            diagnoses.append(await self._make(check, examination, seconds_max))
        return Report(checked_at, examination.scope.since, diagnoses, data)

    async def _make(self, check: Check, examination: _Examination, seconds_max: float) -> Diagnosis:
        begun = self._clock.monotonic()
        found = _Found()
        days = examination.days_of(check)
        found.days_left = len(days)
        try:
            if seconds_max <= 0:
                raise TimeoutError  # The query is not started: to cancel it would take as long as many queries.
            async with asyncio.timeout(seconds_max):
                for day in days:
                    await self._look(check, day, examination, found)
                    found.days_left -= 1
        except TimeoutError:
            found.status = "stopped"
        except BlobsUnavailable as error:
            _log.warning("a check could not be made: files cannot be reached", check=check.name, reason=error.message)
            found.status = "failed"
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - an edge: what a broken database holds may break a check, and the others must still be made
            _log.exception("a check could not be made", check=check.name)
            found.status = "failed"
        return Diagnosis(
            name=check.name,
            promise=check.promise,
            status=found.status,
            findings=found.findings,
            more=found.more,
            remedy=check.remedy,
            repairable=check.repair is not None,
            seconds=self._clock.monotonic() - begun,
            days_verified=len(examination.days) - len(days) if check.by_day and examination.remember else 0,
            days_left=found.days_left,
        )

    async def _look(self, check: Check, day: Day, examination: _Examination, found: _Found) -> None:
        """Runs one check for one day, and remembers the day if nothing was found."""

        def count(things: int) -> None:
            found.looked_at += things
            examination.looking(check, day, found.looked_at)

        count(0)
        before = len(found.findings)
        async with examination.transaction() as tx:
            await tx.execute("SET LOCAL transaction_read_only = on")
            scope = replace(examination.scope, since=day.start, until=day.end, looked_at=count)
            async for finding in check.find(tx, scope):
                if len(found.findings) == FINDINGS_MAX:
                    found.more = True
                    return
                found.findings.append(finding)
        if examination.remember and check.by_day and day.settled:
            async with internal(self._database) as tx:
                await store.settle(tx, check.name, day, whole=len(found.findings) == before)
