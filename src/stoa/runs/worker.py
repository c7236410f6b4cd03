"""Carries runs: claim → drive → record. Supervised, bounded; what it cannot finish another node finishes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.internal import internal
from stoa.gateway import Model, ModelError
from stoa.journal import Fenced, Head, Journal, Pen
from stoa.kernel.errors import AppError, Unavailable
from stoa.kernel.supervise import Supervisor
from stoa.runs import rules, store
from stoa.runs.context import Context
from stoa.runs.loop import Progress, drive
from stoa.runs.node import Node
from stoa.runs.service import Runs
from stoa.runs.store import SQL
from stoa.runs.types import Outcome, Run, RunError, RunStatus

CLAIM_MAX: Final = 50
"""Runs taken per look, so that the orphans of a large node spread over the living."""
FIRST_CONTENT_SEQUENCE: Final = 2
"""What follows `run.started`: until steps are checkpointed, a run that starts anew starts from there."""
_log = structlog.get_logger("stoa.runs")

FindModel = Callable[[Run], Awaitable[Model]]
"""The model of a run. Raises AppError when it cannot be had (any more)."""


@dataclass(slots=True)
class _Carried:
    """A run in this node's hands."""

    run: Run
    pen: Pen
    progress: Progress = field(default_factory=Progress)
    cancel_reason: str | None = None
    driving: asyncio.Task[Outcome] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """`start`, then it claims by itself; `drain` stops it in a way that loses nothing."""

    def __init__(
        self, database: Database, journal: Journal, runs: Runs, node: Node, context: Context, find_model: FindModel, *, runs_max: int
    ) -> None:
        self._database = database
        self._journal = journal
        self._runs = runs
        self._node = node
        self._context = context
        self._find_model = find_model
        self._runs_max = runs_max
        self._carried: dict[UUID, _Carried] = {}
        self._supervisor = Supervisor()
        self._nudged = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @property
    def node_id(self) -> UUID:
        return self._node.id

    @property
    def has_room(self) -> bool:
        return not self._draining and len(self._carried) < self._runs_max

    @property
    def draining(self) -> bool:
        return self._draining

    async def start(self) -> None:
        self._supervisor.keep(self._claim_forever, "runs.claim")

    async def drain(self, seconds_max: float) -> None:
        """Takes nothing new, lets what runs end for a while, then gives the rest back: it goes on elsewhere, or at the next start."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds_max):
                await self._idle.wait()
        except TimeoutError:
            _log.info("runs are handed over", runs=len(self._carried))
        await self._supervisor.stop()
        async with internal(self._database) as tx:
            await tx.execute(SQL.give_back, self._node.id)

    # --- the service's hands ----------------------------------------------------------------------------------------
    def adopt(self, run: Run, pen: Pen) -> None:
        carried = _Carried(run, pen)
        self._carried[run.id] = carried
        self._idle.clear()
        self._supervisor.once(self._carry(carried), f"run {run.id}")

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        carried = self._carried.get(run_id)
        if carried is None:
            return False
        self._request_cancel(carried, reason)
        await carried.ended.wait()
        return True

    def heard(self, payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_runs`: `cancel <run> <reason>`, or that runs wait to be claimed."""
        match payload.split(" ", 2):
            case ["cancel", run_id, reason]:
                carried = self._carried.get(UUID(run_id))
                if carried:
                    self._request_cancel(carried, reason)
            case _:
                self._nudged.set()

    def look(self) -> None:
        self._nudged.set()

    def _request_cancel(self, carried: _Carried, reason: str) -> None:
        carried.cancel_reason = carried.cancel_reason or reason
        if carried.driving is not None:
            carried.driving.cancel()

    # --- claiming ---------------------------------------------------------------------------------------------------
    async def _claim_forever(self) -> None:
        while True:
            try:
                more = await self._claim()
            except Unavailable:
                more = False
            if not more:
                try:
                    async with asyncio.timeout(rules.POLL_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 — spreads the nodes' looks
                        await self._nudged.wait()
                except TimeoutError:
                    pass
            self._nudged.clear()

    async def _claim(self) -> bool:
        """Takes what nobody carries; true when there may be more."""
        limit = min(CLAIM_MAX, self._runs_max - len(self._carried))
        if self._draining or limit <= 0:
            return False
        taken: list[tuple[Run, Head]] = []
        async with internal(self._database) as tx:
            claimed = await store.claim(tx, self._node.id, limit)
            taken = [(run, await self._journal.take(tx, run.key)) for run in claimed]
        for run, head in taken:
            pen = await self._journal.resume(run.key, head)
            _log.info("run claimed", run_id=str(run.id), attempt=run.attempt, after_sequence=head.last_sequence)
            self._begin_again(run, head, pen)
        return len(taken) == limit

    def _begin_again(self, run: Run, head: Head, pen: Pen) -> None:
        if head.last_sequence == 0:
            pen.write(rules.started(run))
        else:
            pen.write(rules.recovered(run.id, run.attempt, FIRST_CONTENT_SEQUENCE))
        self.adopt(run, pen)

    # --- carrying ---------------------------------------------------------------------------------------------------
    async def _carry(self, carried: _Carried) -> None:
        run, pen = carried.run, carried.pen

        def stop_driving() -> None:
            if carried.driving is not None:
                carried.driving.cancel()

        pen.on_fenced = stop_driving
        try:
            outcome = await self._outcome(carried)
            await self._runs.finish(run, pen, outcome)
        except Fenced:
            _log.info("run is carried elsewhere", run_id=str(run.id))
        finally:
            self._journal.writer.release(pen)
            del self._carried[run.id]
            carried.ended.set()
            if not self._carried:
                self._idle.set()

    async def _outcome(self, carried: _Carried) -> Outcome:
        run = carried.run
        if run.cancel_reason is not None:
            return await self._runs.spoken(run, run.cancel_reason)
        if run.attempt > rules.ATTEMPTS_MAX:
            message = f"The server failed {rules.ATTEMPTS_MAX} times while it worked on this run; it was given up."
            return _failed(carried.progress, RunError("attempts_exhausted", message))
        if carried.cancel_reason is None:
            carried.driving = asyncio.create_task(self._drive(carried), name=f"drive {run.id}")
            try:
                return await carried.driving
            except asyncio.CancelledError:
                if carried.pen.fenced:
                    raise Fenced from None
                if carried.cancel_reason is None:  # This node is leaving: the task itself was cancelled.
                    carried.driving.cancel()
                    await asyncio.gather(carried.driving, return_exceptions=True)
                    raise
        progress = carried.progress
        return Outcome(RunStatus.CANCELED, progress.text, rules.usage_json(progress.used), reason=carried.cancel_reason)

    async def _drive(self, carried: _Carried) -> Outcome:
        run, pen, progress = carried.run, carried.pen, carried.progress
        try:
            model = await self._find_model(run)
            request = await self._context.request(run, model.abilities)
            async for batch in drive(request, model, progress):
                for event in batch:
                    pen.write(event)
                if pen.crowded:
                    await pen.flush()
        except ModelError as error:
            return _failed(progress, RunError(error.code, error.message, error.retryable))
        except AppError as refusal:
            return _failed(progress, RunError(refusal.code, refusal.message))
        except Fenced:
            raise
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", run_id=str(run.id))
            return _failed(progress, RunError("internal_error", "Something went wrong on the server. It was logged under this run's id."))
        return Outcome(RunStatus.COMPLETED, progress.text, rules.usage_json(progress.used))


def _failed(progress: Progress, error: RunError) -> Outcome:
    return Outcome(RunStatus.FAILED, progress.text, rules.usage_json(progress.used), error)
