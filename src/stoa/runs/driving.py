"""Drives one run: gets the next step from the loop, records it, and returns how the run ended."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, TypeVar

import structlog

from stoa.db import Unstorable
from stoa.db.node import Node
from stoa.events import Unencodable
from stoa.gateway import ModelError, ModelRequest
from stoa.journal import Fenced, RunWriter
from stoa.kernel.errors import AppError, DatabaseUnavailable
from stoa.kernel.leases import RUN
from stoa.runs import rules
from stoa.runs.agent.checkpoint import RunCheckpoint, client_names, turns_json
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.loop import Loop
from stoa.runs.agent.ports import Ports, ResourceTools, Schemas, Supply
from stoa.runs.agent.resources import AgentResources
from stoa.runs.agent.steps import Answer, Checkpoint, Interrupt, Released, RunStopped
from stoa.runs.graphs import Graphs, ReadyGraph
from stoa.runs.metrics import RunMetrics
from stoa.runs.recording import Recorder
from stoa.runs.revocation import Revocation
from stoa.runs.service import Runs
from stoa.runs.types import Outcome, Run, RunError, RunStatus
from stoa.runs.workflow.driver import Workflow
from stoa.runs.workflow.state import WorkflowCheckpoint
from stoa.tools import Tool

RECORD_SECONDS_MAX: Final = 5.0
"""How long a cancel waits for a step that is being recorded."""
RECORDING: Final = "runs.recording"
"""The name of tasks in which a step is stored."""
_log = structlog.get_logger("stoa.runs")
T = TypeVar("T")


OpenTools = Callable[[Run, Sequence[str]], AbstractAsyncContextManager[Sequence[Tool]]]
"""Opens the tools of these definitions while this node executes the run."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The input of a run's first model call. `left_out` messages of the conversation do not fit."""

    supply: Supply
    conversation: ModelRequest
    left_out: int


@dataclass(slots=True)
class ActiveRun:
    """A run that this node executes."""

    run: Run
    writer: RunWriter
    state: RunCheckpoint
    ready: asyncio.Task[Ready | ReadyGraph]
    lost: bool = False
    """The previous node died in the middle of a step, and `run.recovered` is not written yet."""
    loop: Loop | Workflow | None = None
    cancel_reason: str | None = None
    driving: asyncio.Task[Outcome | None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once this node no longer executes it."""
    finished: bool = False
    silent: bool = True
    """No event was written since this node claimed the run."""
    began_at: float = field(default_factory=perf_counter)

    def outcome(self, status: RunStatus, error: RunError | None = None, reason: str | None = None) -> Outcome:
        """The outcome with all text and usage so far."""
        text = self.state.text
        if self.loop is not None:
            self.loop.abandon()
            text = self.loop.text
        uses = tuple(self.loop.unbilled) if self.loop is not None else ()
        finish_reason = self.loop.finish_reason if self.loop is not None and status is not RunStatus.CANCELED else None
        usage = rules.usage_json(self.state.usage, self.state.cost_usd, finish_reason)
        result = self.loop.result if isinstance(self.loop, Workflow) else None
        turns = turns_json(self.state.agent, client_names(self.run.options))
        return Outcome(status, text, usage, error, reason, turns, uses, result)

    def request_cancel(self, reason: str) -> None:
        self.cancel_reason = self.cancel_reason or reason
        self.stop_driving()

    def stop_driving(self) -> None:
        if self.driving is not None:
            self.driving.cancel()


class HandedOver(Exception):
    """This node is shutting down, and the run is between two steps."""


class Driver:
    def __init__(
        self,
        runs: Runs,
        recorder: Recorder,
        node: Node,
        open_tools: OpenTools,
        draining: Callable[[], bool],
        metrics: RunMetrics,
        schemas: Schemas,
        graphs: Graphs,
        revocation: Revocation,
        resource_tools: ResourceTools,
    ) -> None:
        self._revocation = revocation
        self._resource_tools = resource_tools
        self._runs = runs
        self._recorder = recorder
        self._node = node
        self._open_tools = open_tools
        self._draining = draining
        self._metrics = metrics
        self._schemas = schemas
        self._graphs = graphs

    async def outcome(self, active: ActiveRun) -> Outcome | None:
        """How the run ended; None when it is paused until a person answers. Raises Fenced, HandedOver or
        DatabaseUnavailable."""
        run = active.run
        if active.writer.fenced:
            raise Fenced
        if reason := run.cancel_reason or active.cancel_reason:
            return await self._runs.spoken(run, RunStatus.CANCELED, reason=reason)
        if run.attempt > RUN.attempts_max:
            message = f"The server failed {RUN.attempts_max} times while it worked on this run; it was given up."
            return await self._runs.spoken(run, RunStatus.FAILED, error=RunError("attempts_exhausted", message))
        active.driving = asyncio.create_task(self._drive(active), name=f"drive {run.id}")
        try:
            return await active.driving
        except asyncio.CancelledError:
            if active.writer.fenced:
                raise Fenced from None
            if broken := active.writer.broken:  # Its events cannot be stored: the writer cancelled the driving.
                return active.outcome(RunStatus.FAILED, RunError(broken.code, broken.message))
            if active.cancel_reason is None:  # This node is stopping: the task itself was cancelled.
                active.driving.cancel()
                await asyncio.gather(active.driving, return_exceptions=True)
                raise
        if active.lost:  # Cancelled before `run.recovered` was written: the lost part is only in the database.
            return await self._runs.spoken(run, RunStatus.CANCELED, reason=active.cancel_reason)
        return active.outcome(RunStatus.CANCELED, reason=active.cancel_reason)

    async def _drive(self, active: ActiveRun) -> Outcome | None:
        run = active.run
        try:
            if active.lost:
                spoken = await _whole(self._recorder.recover(run, active.writer, active.state))
                active.lost = False
                if spoken and (run.options.get("wanted") or {}).get("once"):
                    raise RunStopped("server_error", "The server failed in the middle of this answer; send it again.")
            if await self._steps(active):
                return active.outcome(RunStatus.COMPLETED)
            return None
        except ModelError as error:
            return active.outcome(RunStatus.FAILED, RunError(error.code, error.message, error.retryable))
        except (Fenced, HandedOver, DatabaseUnavailable):
            raise
        except (RunStopped, AppError, Unencodable, Unstorable) as ended:
            return active.outcome(RunStatus.FAILED, RunError(ended.code, ended.message))
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", run_id=str(run.id))
            return active.outcome(
                RunStatus.FAILED,
                RunError("internal_error", "Something went wrong on the server. It was logged under this run's id."),
            )

    async def _steps(self, active: ActiveRun) -> bool:
        """Drives the loop and records its steps. True at its end, false when the run is paused. Passes on the loop's
        exceptions."""
        run, state = active.run, active.state
        ready = await active.ready
        names = ready.tools() if isinstance(ready, ReadyGraph) else _agent_of(run).all_tools()
        if isinstance(state, WorkflowCheckpoint) and run.checkpoint is not None:
            state.nodes = await self._recorder.nodes(run)
        async with self._open_tools(run, names) as opened:
            resources = AgentResources() if isinstance(ready, ReadyGraph) else _agent_of(run).resources
            own = await self._resource_tools(run, resources) if resources else ()
            tools = {tool.name: tool for tool in [*opened, *own]}
            while True:
                begun = run.checkpoint is not None or bool(state.agent.turns) or isinstance(ready, ReadyGraph)
                answers = await self._recorder.answers(run) if begun else {}
                loop = active.loop = self._work(active, ready, tools, answers)
                if not await self._until_interrupt(active, loop, _slug_of(ready)):
                    return True
                if await _whole(self._recorder.pause(run, active.writer, state)):
                    return False

    def _work(
        self,
        active: ActiveRun,
        ready: Ready | ReadyGraph,
        tools: Mapping[str, Tool],
        answers: Mapping[str, Answer],
    ) -> Loop | Workflow:
        run, state = active.run, active.state
        if isinstance(ready, ReadyGraph):
            assert isinstance(state, WorkflowCheckpoint), "a graph's run has the state of a graph"
            admitted = self._revocation.admission(run)
            return self._graphs.workflow(run, state, ready, tools, answers, self._recorder, self._draining, admitted)
        supply = ready.supply
        ports = Ports(
            supply.model,
            supply.slug,
            supply.price,
            ready.conversation,
            ready.left_out,
            tools,
            answers,
            self._schemas,
            self._recorder.allowance(run, supply.price),
            self._revocation.admission(run),
            active.writer,
        )
        return Loop(run, _agent_of(run), state, ports)

    async def _until_interrupt(self, active: ActiveRun, loop: Loop | Workflow, slug: str) -> bool:
        """Whether the loop ended with an interrupt."""
        writer = active.writer
        waiting = False
        async with aclosing(loop.drive()) as steps:
            async for step in steps:
                if isinstance(step, Checkpoint):
                    await self._record(active, loop, step)
                elif isinstance(step, Interrupt):
                    waiting = True
                elif isinstance(step, Released):
                    raise HandedOver
                else:
                    if active.silent:
                        active.silent = False
                        self._metrics.first(slug, perf_counter() - active.began_at)
                    for event in step:
                        writer.write(event)
                    if writer.crowded:
                        await writer.flush()
        return waiting

    async def _record(self, active: ActiveRun, loop: Loop | Workflow, step: Checkpoint) -> None:
        """Stores a step. A tool call may follow, which cannot be undone, so a node whose lease ran out meanwhile first
        checks that it still owns the run."""
        lapses = self._node.lapses
        await _whole(self._recorder.record(active.run, active.writer, active.state, step))
        if self._node.lapsed or self._node.lapses != lapses:
            await self._recorder.check_held(active.run)
        if self._draining() and loop.resting:
            raise HandedOver


def _agent_of(run: Run) -> Agent:
    options = run.options
    return Agent.of(
        options.get("agent"), subagents_enabled=bool(options.get("subagents_enabled")), tools=options.get("tools")
    ).wanted(options.get("wanted"))


def _slug_of(ready: Ready | ReadyGraph) -> str:
    """The label for metrics. Nodes of a graph have their own models."""
    return ready.supply.slug if isinstance(ready, Ready) else "workflow"


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Completes a transaction even when the run is cancelled meanwhile; otherwise the writer's sequence would be ahead
    of the journal."""
    task = asyncio.create_task(work, name=RECORDING)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Its result no longer counts. Asking for it keeps asyncio from reporting an exception that was never retrieved.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not task.done():
            await asyncio.wait([task], timeout=RECORD_SECONDS_MAX)
            if not task.done():
                task.cancel()
        raise
