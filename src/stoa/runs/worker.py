"""Carries runs: claim → drive → record. Supervised, bounded; what it cannot finish another node finishes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from stoa.db import Database, Unstorable
from stoa.db.internal import internal
from stoa.events import EventType, Unencodable
from stoa.gateway import Model, ModelError, ModelRequest, Usage
from stoa.journal import Fenced, Head, Journal, RunWriter
from stoa.kernel.errors import AppError, DatabaseUnavailable, Unavailable
from stoa.kernel.metrics import Gauge, Metric
from stoa.kernel.supervise import Supervisor, Wakeup, spread
from stoa.runs import rules, store
from stoa.runs.agent.checkpoint import RunCheckpoint, turns_json
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.loop import Loop
from stoa.runs.agent.ports import Ports
from stoa.runs.agent.steps import Checkpoint, Interrupt, RunStopped
from stoa.runs.context import Context
from stoa.runs.metrics import RunMetrics
from stoa.runs.node import Node
from stoa.runs.recording import Recorder
from stoa.runs.service import Runs
from stoa.runs.store import SQL
from stoa.runs.types import Outcome, Run, RunError, RunStatus
from stoa.tools import Tool

CLAIM_MAX: Final = 50
"""Runs taken per look, so that the orphans of a large node spread over the living."""
RECORD_SECONDS_MAX: Final = 5.0
"""How long a cancel waits for a step that is being recorded."""
EARLY_CANCELS_MAX: Final = 1_000
EXPIRY_SECONDS: Final = 2.0
"""Between two looks for questions that nobody answered in time, and for runs in nobody's hands."""
RECORDING: Final = "runs.recording"
"""The name of tasks in which a step is stored."""
_log = structlog.get_logger("stoa.runs")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Supply:
    """A run's model: the adapter, its slug, and what its tokens cost (None where no price is known)."""

    model: Model
    slug: str
    price: Callable[[Usage], float | None]


FindModel = Callable[[Run], Awaitable[Supply]]
"""The model of a run. Raises AppError when it cannot be had (any more)."""
OpenTools = Callable[[Run, Sequence[str]], AbstractAsyncContextManager[Sequence[Tool]]]
"""The tools that these definitions give, for as long as the run is carried here."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the first call of a run's model needs. `left_out` messages of the conversation do not fit."""

    supply: Supply
    conversation: ModelRequest
    left_out: int


@dataclass(slots=True)
class _Carried:
    """A run in this node's hands."""

    run: Run
    pen: RunWriter
    state: RunCheckpoint
    ready: asyncio.Task[Ready]
    lost: bool = False
    """By the node that carried it before, in the middle of something, and nobody has been told yet."""
    loop: Loop | None = None
    cancel_reason: str | None = None
    driving: asyncio.Task[Outcome | None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is in this node's hands no more."""
    finished: bool = False
    begun: float = field(default_factory=perf_counter)

    def outcome(self, status: RunStatus, error: RunError | None = None, reason: str | None = None) -> Outcome:
        """With all that was said and used up to here."""
        text = self.state.agent.text
        if self.loop is not None:
            self.loop.abandon()
            text = self.loop.text
        uses = tuple(self.loop.unbilled) if self.loop is not None else ()
        finish_reason = self.loop.finish_reason if self.loop is not None and status is not RunStatus.CANCELED else None
        usage = rules.usage_json(self.state.usage, self.state.cost_usd, finish_reason)
        return Outcome(status, text, usage, error, reason, turns_json(self.state.agent), uses)


class Worker:
    """`start`, then it claims by itself; `drain` stops it in a way that loses nothing."""

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
        *,
        runs_max: int,
        metrics: RunMetrics | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._runs = runs
        self._recorder = recorder
        self._node = node
        self._context = context
        self._find_model = find_model
        self._open_tools = open_tools
        self._runs_max = runs_max
        self._metrics = metrics or RunMetrics()
        self._carried: dict[UUID, _Carried] = {}
        self._supervisor = Supervisor()
        self._nudge = Wakeup(rules.POLL_SECONDS)
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._early: dict[UUID, str] = {}
        """Cancels of runs that are not in this node's hands (yet): the newest of them, for those that are just being claimed."""
        self._unheld: set[tuple[UUID, int]] = set()

    @property
    def node_id(self) -> UUID:
        return self._node.id

    @property
    def has_room(self) -> bool:
        return not self._draining and not self._node.lapsed and len(self._carried) < self._runs_max

    @property
    def draining(self) -> bool:
        return self._draining

    def metrics(self) -> Sequence[Metric]:
        return [
            Gauge("stoa_runs_carried", "Runs in this node's hands.", lambda: len(self._carried)),
            Gauge("stoa_runs_carried_max", "What STOA_RUNS_MAX allows.", lambda: self._runs_max),
            Gauge(
                "stoa_draining",
                "1 while this node takes nothing new because it is about to stop.",
                lambda: self._draining,
            ),
        ]

    async def start(self) -> None:
        self._supervisor.keep(self._claim_forever, "runs.claim")
        self._supervisor.keep(self._expire_forever, "runs.expire")

    async def drain(self, seconds_max: float) -> None:
        """Takes nothing new and hands each run over at its next step; what is within a step may end it, for a while. Then the rest is given back."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds_max):
                await self._idle.wait()
        except TimeoutError:
            _log.info("runs are handed over", runs=len(self._carried))
        await self._supervisor.stop()
        with suppress(Unavailable):  # Then another node finds this one gone.
            async with internal(self._database) as tx:
                await tx.execute(SQL.give_back, self._node.id)
                await tx.execute("SELECT pg_notify('stoa_runs', 'claim')")

    # --- the service's hands ----------------------------------------------------------------------------------------
    def prepare(self, run: Run) -> asyncio.Task[Ready]:
        task = asyncio.create_task(self._prepare(run), name=f"prepare {run.id}")
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # It may be that nobody asks.
        return task

    async def _prepare(self, run: Run) -> Ready:
        supply = await self._find_model(run)
        return Ready(supply, *await self._context.request(run, supply.model.abilities))

    def adopt(self, run: Run, pen: RunWriter, prepared: asyncio.Task[Ready], *, lost: bool = False) -> None:
        carried = _Carried(
            run, pen, RunCheckpoint.of(run.checkpoint), prepared, lost, cancel_reason=self._early.pop(run.id, None)
        )
        if older := self._carried.get(run.id):
            older.pen.settle(
                stored=False
            )  # This node had lost the run, does not know it yet, and has taken it up again.
        self._carried[run.id] = carried
        self._idle.clear()
        self._supervisor.once(self._carry(carried), f"run {run.id}")

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        carried = self._carried.get(run_id)
        if carried is None:
            return False
        self._request_cancel(carried, reason)
        await carried.ended.wait()
        return carried.finished

    def on_notification(self, payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_runs`: `cancel <run> <reason>`, that a node has joined, or that runs wait to be claimed."""
        match payload.split(" ", 2):
            case ["cancel", run_id, reason]:
                if carried := self._carried.get(UUID(run_id)):
                    self._request_cancel(carried, reason)
                else:
                    self._early[UUID(run_id)] = reason
                    if len(self._early) > EARLY_CANCELS_MAX:
                        del self._early[next(iter(self._early))]
            case ["joined"]:
                self._node.wake()
            case _:
                self._nudge.give()

    def wake(self) -> None:
        self._nudge.give()

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
                await self._nudge.wait()

    async def _claim(self) -> bool:
        """Takes what nobody carries; true when there may be more."""
        limit = min(CLAIM_MAX, self._runs_max - len(self._carried))
        if self._draining or self._node.lapsed or limit <= 0:
            return False
        taken: list[tuple[Run, Head]] = []
        async with internal(self._database) as tx:
            claimed = await store.claim(tx, self._node.id, limit)
            taken = [(run, await self._journal.take(tx, run.key)) for run in claimed]
        for run, head in taken:
            pen, last = await self._journal.resume(run.key, head)
            self._metrics.claimed.add()
            _log.info("run claimed", run_id=str(run.id), attempt=run.attempt, after_sequence=head.last_sequence)
            if last is None:
                pen.write(rules.started(run.id, run.conversation_id, run.message_id))
            elif last.type == EventType.RUN_PAUSED:
                pen.write(rules.resumed(run.id))
            self.adopt(run, pen, self.prepare(run), lost=last is not None and last.type != EventType.RUN_PAUSED)
        return len(taken) == limit

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(spread(EXPIRY_SECONDS))
            try:
                async with internal(self._database) as tx:
                    await tx.execute(SQL.expire_requests)
                    await tx.execute(SQL.resume_without_question)
                await self._compare()
            except Unavailable:
                continue

    async def _compare(self) -> None:
        """What the database says this node carries, with what it carries: a cancel's nudge may have been lost, and the answer to a commit.

        A run that is not in its hands at two looks (its start or its claim was cut short) is anybody's.
        """
        async with internal(self._database) as tx:
            own = await tx.fetch(SQL.own, self._node.id)
            unheld = {(row["id"], row["attempt"]): row["org_id"] for row in own if row["id"] not in self._carried}
            for row in own:
                if row["cancel_reason"] is not None and row["id"] in self._carried:
                    self._request_cancel(self._carried[row["id"]], row["cancel_reason"])
            for run_id, attempt in self._unheld & unheld.keys():
                _log.warning("run was in nobody's hands", run_id=str(run_id))
                await tx.execute(SQL.let_go, unheld[run_id, attempt], run_id, self._node.id, attempt)
        self._unheld = set(unheld)

    # --- carrying ---------------------------------------------------------------------------------------------------
    async def _carry(self, carried: _Carried) -> None:
        run, pen = carried.run, carried.pen

        def stop_driving() -> None:
            if carried.driving is not None:
                carried.driving.cancel()

        pen.on_stopped = stop_driving
        try:
            outcome = await self._outcome(carried)
            if outcome is not None:
                await self._runs.finish(run, pen, outcome)
                carried.finished = True
                self._metrics.seconds.observe(perf_counter() - carried.begun, outcome.status.value)
        except Fenced:
            _log.info("run is carried elsewhere", run_id=str(run.id))
            with suppress(Unavailable):  # Then its lease runs out, or this node sees that it does not hold it.
                await self._recorder.let_go(run)
        except (_HandedOver, DatabaseUnavailable):
            await self._hand_over(carried)
        finally:
            carried.ready.cancel()
            self._journal.writer.release(pen)
            if self._carried.get(run.id) is carried:
                del self._carried[run.id]
            carried.ended.set()
            if not self._carried:
                self._idle.set()

    async def _hand_over(self, carried: _Carried) -> None:
        """Once the database takes it. What the step's neighbours said meanwhile is committed first: nothing may be written later."""
        try:
            await carried.pen.flush()
            while True:
                try:
                    await self._recorder.hand_over(carried.run)
                    break
                except DatabaseUnavailable:
                    await asyncio.sleep(rules.POLL_SECONDS)
            _log.info("run is handed over", run_id=str(carried.run.id))
        except Fenced:
            _log.info("run is carried elsewhere", run_id=str(carried.run.id))

    async def _outcome(self, carried: _Carried) -> Outcome | None:
        """How it ended; None when it waits for people."""
        run = carried.run
        if carried.pen.fenced:
            raise Fenced
        if reason := run.cancel_reason or carried.cancel_reason:
            return await self._runs.spoken(run, RunStatus.CANCELED, reason=reason)
        if run.attempt > rules.ATTEMPTS_MAX:
            message = f"The server failed {rules.ATTEMPTS_MAX} times while it worked on this run; it was given up."
            return await self._runs.spoken(run, RunStatus.FAILED, error=RunError("attempts_exhausted", message))
        carried.driving = asyncio.create_task(self._drive(carried), name=f"drive {run.id}")
        try:
            return await carried.driving
        except asyncio.CancelledError:
            if carried.pen.fenced:
                raise Fenced from None
            if broken := carried.pen.broken:  # It stopped the driving.
                return carried.outcome(RunStatus.FAILED, RunError(broken.code, broken.message))
            if carried.cancel_reason is None:  # This node is leaving: the task itself was cancelled.
                carried.driving.cancel()
                await asyncio.gather(carried.driving, return_exceptions=True)
                raise
        if carried.lost:  # It was cancelled before its losses were counted: what they were is in the database alone.
            return await self._runs.spoken(run, RunStatus.CANCELED, reason=carried.cancel_reason)
        return carried.outcome(RunStatus.CANCELED, reason=carried.cancel_reason)

    async def _drive(self, carried: _Carried) -> Outcome | None:
        run = carried.run
        try:
            if carried.lost:
                await _whole(self._recorder.recover(run, carried.pen, carried.state))
                carried.lost = False
            if await self._steps(carried):
                return carried.outcome(RunStatus.COMPLETED)
            return None
        except ModelError as error:
            return carried.outcome(RunStatus.FAILED, RunError(error.code, error.message, error.retryable))
        except (Fenced, _HandedOver, DatabaseUnavailable):
            raise
        except (RunStopped, AppError, Unencodable, Unstorable) as ended:
            return carried.outcome(RunStatus.FAILED, RunError(ended.code, ended.message))
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", run_id=str(run.id))
            return carried.outcome(
                RunStatus.FAILED,
                RunError("internal_error", "Something went wrong on the server. It was logged under this run's id."),
            )

    async def _steps(self, carried: _Carried) -> bool:
        """Drives the loop and records what it yields; true at its end, false when the run is paused. Raises what the loop raises."""
        run, pen, state = carried.run, carried.pen, carried.state
        ready = await carried.ready
        supply = ready.supply
        allow, options = self._recorder.allowance(run, supply.price), run.options
        silent = True
        agent = Agent.of(
            options.get("agent"), subagents_enabled=bool(options.get("subagents_enabled")), tools=options.get("tools")
        )
        async with self._open_tools(run, agent.all_tools()) as opened:
            tools = {tool.name: tool for tool in opened}
            while True:
                answers = await self._recorder.answers(run) if run.checkpoint is not None or state.agent.turns else {}
                ports = Ports(
                    supply.model, supply.slug, supply.price, ready.conversation, ready.left_out, tools, answers, allow
                )
                loop = carried.loop = Loop(run, agent, state, ports)
                waiting = False
                async with aclosing(loop.drive()) as steps:
                    async for step in steps:
                        if isinstance(step, Checkpoint):
                            await self._record(carried, loop, step)
                        elif isinstance(step, Interrupt):
                            waiting = True
                        else:
                            if silent:
                                silent = False
                                self._metrics.first(supply.slug, perf_counter() - carried.begun)
                            for event in step:
                                pen.write(event)
                            if pen.crowded:
                                await pen.flush()
                if not waiting:
                    return True
                if await _whole(self._recorder.pause(run, pen, state)):
                    return False

    async def _record(self, carried: _Carried, loop: Loop, step: Checkpoint) -> None:
        """Stores a step. What comes next, a tool's call perhaps, cannot be taken back: so not by a node that slept through its lease."""
        lapses = self._node.lapses
        await _whole(self._recorder.record(carried.run, carried.pen, carried.state, step))
        if self._node.lapsed or self._node.lapses != lapses:
            await self._recorder.check_held(carried.run)
        if self._draining and loop.resting:
            raise _HandedOver


class _HandedOver(Exception):
    """This node is leaving, and the run stands between two steps."""


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Runs a transaction to its end even when the run is cancelled meanwhile: half of one would leave the pen ahead of the journal."""
    task = asyncio.create_task(work, name=RECORDING)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # What becomes of it counts no more (a fence was lost, for one); asking keeps it from being reported as forgotten.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not task.done():
            await asyncio.wait([task], timeout=RECORD_SECONDS_MAX)
            if not task.done():
                task.cancel()
        raise
