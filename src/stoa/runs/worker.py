"""Executes runs: claim → drive → record. Supervised and bounded; another node completes what this node cannot."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Final
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.internal import internal
from stoa.db.leases import ClaimLoop
from stoa.db.node import Node
from stoa.events import EventType
from stoa.journal import Fenced, Head, Journal, RunWriter
from stoa.kernel.errors import DatabaseUnavailable, Unavailable
from stoa.kernel.leases import RUN, Places
from stoa.kernel.metrics import Gauge, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor
from stoa.runs import rules, store
from stoa.runs.agent.checkpoint import RunCheckpoint
from stoa.runs.agent.ports import ResourceTools, Schemas
from stoa.runs.context import Context
from stoa.runs.driving import ActiveRun, Driver, HandedOver, OpenTools, Ready
from stoa.runs.graphs import Graphs, ReadyGraph, is_graph
from stoa.runs.metrics import RunMetrics
from stoa.runs.ports import FindModel
from stoa.runs.recording import Recorder
from stoa.runs.revocation import SWEEP_SECONDS, Revocation
from stoa.runs.service import Runs
from stoa.runs.store import SQL
from stoa.runs.types import Run
from stoa.runs.workflow.state import WorkflowCheckpoint

CLAIM_MAX: Final = 50
"""Runs per claim, so that the runs of a dead node spread over the living nodes."""
ADOPTED_TOGETHER: Final = 4
"""Claimed runs whose journals are read at once."""
EARLY_CANCELS_MAX: Final = 1_000
EXPIRY_SECONDS: Final = 2.0
"""How often expired questions are closed, and this node's runs are compared with the database."""
_log = structlog.get_logger("stoa.runs")


def _state_of(run: Run) -> RunCheckpoint:
    return (WorkflowCheckpoint if is_graph(run) else RunCheckpoint).of(run.checkpoint)


class Worker:
    """`start` begins to claim runs; `drain` stops without loss."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        runs: Runs,
        recorder: Recorder,
        node: Node,
        context: Context,
        find_model: FindModel,
        open_tools: OpenTools,
        graphs: Graphs,
        *,
        places: Places,
        schemas: Schemas,
        revocation: Revocation,
        resource_tools: ResourceTools,
        metrics: RunMetrics | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._runs = runs
        self._recorder = recorder
        self._node = node
        self._context = context
        self._find_model = find_model
        self._graphs = graphs
        self._places = places
        self._metrics = metrics or RunMetrics()
        self._revocation = revocation
        self._driver = Driver(
            runs,
            recorder,
            node,
            open_tools,
            lambda: self._draining,
            self._metrics,
            schemas,
            graphs,
            revocation,
            resource_tools,
        )
        self._active: dict[UUID, ActiveRun] = {}
        self._supervisor = Supervisor()
        self._claims = ClaimLoop("runs.claim", RUN, self._claim)
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._early: dict[UUID, str] = {}
        """The newest cancels of runs that this node does not work on (yet): some of them are just being claimed."""
        self._unknown: set[tuple[UUID, int]] = set()
        """Runs that the database gave to this node, as of the last comparison, and that it does not work on."""
        self._adopting: set[UUID] = set()
        """Claimed runs whose journals are being read."""

    @property
    def node_id(self) -> UUID:
        return self._node.id

    @property
    def heartbeat(self) -> Heartbeat:
        return self._claims.heartbeat

    def reserve(self, project_id: UUID | None) -> bool:
        """Reserves capacity for a run of this project that is about to start; false if there is none. `unreserve`
        releases it."""
        if self._draining or self._node.lapsed or not self._places.room(project_id):
            return False
        self._places.take(project_id)
        return True

    def unreserve(self, project_id: UUID | None) -> None:
        self._places.leave(project_id)

    @property
    def draining(self) -> bool:
        return self._draining

    def metrics(self) -> list[Metric]:
        return [
            Gauge("stoa_runs_carried", "Runs that this node works on.", lambda: self._places.taken),
            Gauge("stoa_runs_carried_max", "What STOA_RUNS_MAX allows.", lambda: self._places.places_max),
            Gauge(
                "stoa_draining",
                "1 while this node takes nothing new because it is about to stop.",
                lambda: self._draining,
                across="max",
            ),
        ]

    async def start(self) -> None:
        self._claims.start(self._supervisor)
        self._supervisor.keep_every(EXPIRY_SECONDS, self._expire, "runs.expire")
        self._supervisor.keep_every(SWEEP_SECONDS, self._revocation.sweep, "runs.revocation")

    async def drain(self, seconds_max: float) -> None:
        """Claims nothing new and releases each run at its next step. After `seconds_max` the remaining runs are
        released immediately."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds_max):
                await self._idle.wait()
        except TimeoutError:
            _log.info("runs are handed over", runs=len(self._active))
        await self._supervisor.stop()
        with suppress(Unavailable):  # Then other nodes treat this one as dead.
            async with internal(self._database) as tx:
                await tx.execute(SQL.give_back, self._node.id)
                tx.notify("stoa_runs", "claim")

    # --- what the service asks for ----------------------------------------------------------------------------------
    def prepare(self, run: Run) -> asyncio.Task[Ready | ReadyGraph]:
        task = asyncio.create_task(self._prepare(run), name=f"prepare {run.id}")
        # Retrieves the exception of a task that nobody awaits.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _prepare(self, run: Run) -> Ready | ReadyGraph:
        if is_graph(run):
            return await self._graphs.ready(run)
        supply = await self._find_model(run, run.model_id)
        conversation, left_out = await self._context.request(run, supply.model.abilities)
        if sampling := (run.options.get("wanted") or {}).get("sampling"):
            conversation = replace(conversation, extra=supply.sampled(sampling))
        return Ready(supply, conversation, left_out)

    def adopt(
        self, run: Run, writer: RunWriter, prepared: asyncio.Task[Ready | ReadyGraph], *, lost: bool = False
    ) -> None:
        """Executes a run that was just committed as this node's."""
        early = self._early.pop(run.id, None)
        active = ActiveRun(run, writer, _state_of(run), prepared, lost, cancel_reason=early)
        if older := self._active.get(run.id):
            older.writer.settle(stored=False)  # This node had lost the run without noticing, and has claimed it again.
        self._active[run.id] = active
        self._places.take(run.project_id)
        self._idle.clear()
        self._supervisor.once(self._work(active), f"run {run.id}")

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        active = self._active.get(run_id)
        if active is None:
            return False
        active.request_cancel(reason)
        await active.ended.wait()
        return active.finished

    def on_notification(self, payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_runs`: `cancel <run> <reason>`, that a node has joined, or that runs wait to
        be claimed."""
        match payload.split(" ", 2):
            case ["cancel", run_id, reason]:
                if active := self._active.get(UUID(run_id)):
                    active.request_cancel(reason)
                else:
                    self._early[UUID(run_id)] = reason
                    if len(self._early) > EARLY_CANCELS_MAX:
                        del self._early[next(iter(self._early))]
            case ["joined"]:
                self._node.wake()
            case _:
                self.wake()

    def wake(self) -> None:
        self._claims.wake()

    # --- claiming ---------------------------------------------------------------------------------------------------
    async def _claim(self) -> bool:
        """Claims runs of dead nodes and unclaimed ones. True when there may be more."""
        if self._draining or self._node.lapsed or not self._places.free:
            return False
        projects: list[UUID] = []
        try:
            async with internal(self._database) as tx:
                claimed = await store.claim(tx, self._node.id, self._places.wanted(CLAIM_MAX))
                self._adopting.update(run.id for run in claimed)
                taken: list[tuple[Run, Head]] = [(run, await self._journal.take(tx, run.key)) for run in claimed]
            projects += [run.project_id for run in claimed]
            self._places.served(projects)
            for project_id in projects:
                self._places.take(project_id)
            await self._adopt_claimed(taken)
        finally:
            self._adopting.clear()
            for project_id in projects:
                self._places.leave(project_id)
        return bool(taken)

    async def _adopt_claimed(self, taken: Sequence[tuple[Run, Head]]) -> None:
        """Several at once, and each for itself: a run whose journal cannot be read does not hold up the others. Raises
        the first error when all are done."""
        together = asyncio.Semaphore(ADOPTED_TOGETHER)

        async def adopt(run: Run, head: Head) -> None:
            async with together:
                writer, last = await self._journal.resume(run.key, head)
            self._metrics.claimed.add()
            _log.info("run claimed", run_id=str(run.id), attempt=run.attempt, after_sequence=head.last_sequence)
            if last is None:
                writer.write(rules.started(run.id, run.conversation_id, run.message_id))
            elif last.type == EventType.RUN_PAUSED:
                writer.write(rules.resumed(run.id))
            self.adopt(run, writer, self.prepare(run), lost=last is not None and last.type != EventType.RUN_PAUSED)

        done = await asyncio.gather(*(adopt(run, head) for run, head in taken), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    async def _expire(self) -> None:
        async with internal(self._database) as tx:
            await tx.execute(SQL.expire_requests)
            await tx.execute(SQL.resume_without_question)
        await self._compare()

    async def _compare(self) -> None:
        """Compares the runs that belong to this node in the database with those that it executes.

        A cancel's notification or the acknowledgement of a commit may have been lost. A run that this node does not
        know in two comparisons (the connection dropped during its start or claim) is released. One that it has claimed
        and whose journal it still reads is known: after a failover many are, and reading them takes seconds.
        """
        async with internal(self._database) as tx:
            own = await tx.fetch(SQL.own, self._node.id)
            known = self._active.keys() | self._adopting
            unknown = {(row["id"], row["attempt"]): row["org_id"] for row in own if row["id"] not in known}
            for row in own:
                if row["cancel_reason"] is not None and row["id"] in self._active:
                    self._active[row["id"]].request_cancel(row["cancel_reason"])
            for run_id, attempt in self._unknown & unknown.keys():
                _log.warning("released a run that this node does not know", run_id=str(run_id))
                await tx.execute(SQL.release_unclaimed, unknown[run_id, attempt], run_id, self._node.id, attempt)
        self._unknown = set(unknown)

    # --- working ----------------------------------------------------------------------------------------------------
    async def _work(self, active: ActiveRun) -> None:
        run, writer = active.run, active.writer
        writer.on_stopped = active.stop_driving
        try:
            outcome = await self._driver.outcome(active)
            if outcome is not None:
                await self._runs.finish(run, writer, outcome)
                active.finished = True
                self._metrics.seconds.observe(perf_counter() - active.began_at, outcome.status.value)
        except Fenced:
            _log.info("run is another node's now", run_id=str(run.id))
            with suppress(Unavailable):  # Then its lease runs out, or `_compare` releases it.
                await self._recorder.release_unclaimed(run)
        except (HandedOver, DatabaseUnavailable):
            await self._hand_over(active)
        finally:
            active.ready.cancel()
            self._journal.writer.release(writer)
            if self._active.get(run.id) is active:
                del self._active[run.id]
            others_may_wait = not self._places.room(run.project_id)
            self._places.leave(run.project_id)
            if others_may_wait:
                self.wake()
            active.ended.set()
            if not self._active:
                self._idle.set()

    async def _hand_over(self, active: ActiveRun) -> None:
        """Releases the run, repeated until the database answers. Its last events are committed first, because nothing
        may be written later."""
        try:
            await active.writer.flush()
            while True:
                try:
                    await self._recorder.hand_over(active.run)
                    break
                except DatabaseUnavailable:
                    await asyncio.sleep(RUN.poll_seconds)
            _log.info("run is handed over", run_id=str(active.run.id))
        except Fenced:
            _log.info("run is another node's now", run_id=str(active.run.id))
