"""Runs the checks one after another, each in a read-only transaction and within its time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, Literal

import structlog

from stoa.db import Database, Tx
from stoa.db.checks import Check, Scope
from stoa.db.internal import internal
from stoa.doctor.types import Diagnosis, Repaired, Report
from stoa.kernel.clock import Clock
from stoa.kernel.errors import RateLimited, Unavailable
from stoa.kernel.findings import Finding
from stoa.kernel.principal import Principal

FINDINGS_MAX: Final = 10_000
"""Per check. Whoever has more broken promises of one kind has one problem, not ten thousand."""
SECONDS_MAX: Final = 300.0
"""Per check, for an operator."""
REQUEST_SECONDS_MAX: Final = 5.0
"""Per check, for somebody who waits for an answer over HTTP."""
_log = structlog.get_logger("stoa.doctor")

Looking = Callable[[Check, int], None]
"""Told which check is being made, and how many things it has looked at so far."""


class Doctor:
    def __init__(self, database: Database, checks: Sequence[Check], clock: Clock) -> None:
        self._database = database
        self._checks = checks
        self._clock = clock
        self._busy = asyncio.Lock()

    async def ask(self, principal: Principal, scope: Scope) -> Report:
        """The caller's organization, as row-level security shows it. One at a time on a node: it reads everything there is."""
        if self._busy.locked():
            raise RateLimited("The doctor is at work on this server; ask again in a moment.", retry_after_seconds=5)
        async with self._busy:
            scope = replace(scope, org_id=principal.org_id)
            return await self._examine(
                lambda: self._database.tenant(principal), scope, REQUEST_SECONDS_MAX, lambda _, __: None
            )

    async def examine(
        self, scope: Scope, *, seconds_max: float = SECONDS_MAX, looking: Looking = lambda _, __: None
    ) -> Report:
        """Everything, of all organizations. For the operator of the database."""
        return await self._examine(lambda: internal(self._database), scope, seconds_max, looking)

    async def repair(self, report: Report) -> AsyncIterator[Repaired]:
        """Puts right what can safely be put right, finding by finding. Look again afterwards: one may have hidden another."""
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

    async def _examine(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Tx]],
        scope: Scope,
        seconds_max: float,
        looking: Looking,
    ) -> Report:
        checked_at = self._clock.now()
        diagnoses = [await self._make(check, transaction, scope, seconds_max, looking) for check in self._checks]
        return Report(checked_at, scope.since, diagnoses)

    async def _make(
        self,
        check: Check,
        transaction: Callable[[], AbstractAsyncContextManager[Tx]],
        scope: Scope,
        seconds_max: float,
        looking: Looking,
    ) -> Diagnosis:
        begun, looked_at = self._clock.monotonic(), 0
        findings: list[Finding] = []
        status: Literal["complete", "stopped", "failed"] = "complete"
        more = False

        def count(things: int) -> None:
            nonlocal looked_at
            looked_at += things
            looking(check, looked_at)

        looking(check, 0)
        try:
            async with asyncio.timeout(seconds_max), transaction() as tx:
                await tx.execute("SET LOCAL transaction_read_only = on")
                async for finding in check.find(tx, replace(scope, looked_at=count)):
                    if len(findings) == FINDINGS_MAX:
                        more = True
                        break
                    findings.append(finding)
        except TimeoutError:
            status = "stopped"
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - an edge: what a broken database holds may break a check, and the others must still be made
            _log.exception("a check could not be made", check=check.name)
            status = "failed"
        return Diagnosis(
            check.name,
            check.promise,
            status,
            findings,
            more,
            check.remedy,
            check.repair is not None,
            self._clock.monotonic() - begun,
        )
