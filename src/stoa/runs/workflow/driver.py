"""Executes a graph: an async generator of steps over ports. It uses no database, journal or clock of its own.

Nodes that need no I/O (the input, a choice, the output, skipped nodes) are decided together, in one checkpoint. The
others run concurrently, as far as the graph allows. The end of each is a checkpoint with its state, so a node that has
completed never runs again.
"""

from collections import ChainMap, deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final, TypeVar
from uuid import UUID

from stoa.events import Event, EventType
from stoa.kernel.json_paths import PathError
from stoa.runs.agent.parallel import Parallel
from stoa.runs.agent.steps import Checkpoint, Interrupt, Released, RunStopped, Step
from stoa.runs.types import ModelUse, Run
from stoa.runs.workflow import attempts
from stoa.runs.workflow.conditions import ConditionError
from stoa.runs.workflow.graph import Graph, GraphNode
from stoa.runs.workflow.nodes.node import Inputs, NodeFailed
from stoa.runs.workflow.ports import WorkflowPorts
from stoa.runs.workflow.readiness import READY, WAITING, joined_outputs, readiness_of, result_of
from stoa.runs.workflow.state import NodeState, WorkflowCheckpoint
from stoa.runs.workflow.task import Task

STATE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The limit of all outputs of a run together."""
T = TypeVar("T")


@dataclass(slots=True)
class _Decided:
    """The nodes that were decided together."""

    states: dict[str, NodeState] = field(default_factory=dict[str, NodeState])
    events: list[Event] = field(default_factory=list[Event])


class Workflow:
    """One run of a graph. It has the interface of an agent's loop, so that the same code executes both."""

    def __init__(
        self,
        run: Run,
        graph: Graph,
        models: Mapping[str, UUID],
        fields: Mapping[str, Any],
        state: WorkflowCheckpoint,
        ports: WorkflowPorts,
    ) -> None:
        """`models` are those of the nodes, by the node's key; `fields` the run's input."""
        self.state = state
        self.unbilled: list[ModelUse] = []
        """Model calls that no checkpoint has stored yet."""
        self.finish_reason: str | None = None
        self._run = run
        self._graph = graph
        self._models = models
        self._fields = fields
        self._ports = ports
        self._tasks: dict[str, Task] = {}
        self._due: list[int] = list(range(len(graph.nodes)))
        """A heap of the numbers of nodes to check: first all, then those behind each node that has ended."""
        self._ready: deque[GraphNode] = deque()
        """Nodes that are ready to start."""
        self._cut_off: list[ModelUse] = []
        """Interrupted model calls, which the next checkpoint stores."""
        self._bytes = 0

    # --- what a cancel keeps ----------------------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """The text of the message: the field `content` of the result, its only text, or all of it as JSON."""
        return attempts.message_of(self.result)

    @property
    def result(self) -> Any:
        """The result of the Output nodes: the output of the only one, or an object by node where several were
        reached."""
        outputs = {one.node.id: self.state.nodes[one.node.id].output for one in self._graph.nodes
                   if one.joins and self._completed(one.node.id)}  # fmt: skip
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs or None

    @property
    def resting(self) -> bool:
        return all(task.resting for task in self._tasks.values())

    def abandon(self) -> None:
        """Ends the active replies; what they used so far is billed."""
        for task in self._tasks.values():
            task.abandon()
        cut_off = self._taken()
        self.state.spend(cut_off)
        self.unbilled += cut_off

    def _completed(self, node_id: str) -> bool:
        found = self.state.nodes.get(node_id)
        return found is not None and found.status == "completed"

    # --- the run ----------------------------------------------------------------------------------------------------
    async def drive(self) -> AsyncGenerator[Step]:
        """Yields steps until every node has ended, or `Interrupt` or `Released`. Raises RunStopped where a node failed
        and no error branch handled it."""
        async with Parallel() as parts:
            while True:
                if decided := await self._decide():
                    yield self._as_step(decided)
                self._begin_ready(parts)
                if not parts.running:
                    break
                while (step := await parts.next()) is not None:
                    yield step
        if all(self._state(one.node.id).ended for one in self._graph.nodes):
            self._raise_failure()
            self.finish_reason = "stop"
        else:
            yield Released() if self._ports.draining() else Interrupt()

    def _state(self, path: str) -> NodeState:
        return self.state.node(path)

    def _begin_ready(self, parts: Parallel) -> None:
        """Starts ready nodes. One that waits for a person stays until the next drive."""
        while self._ready and parts.running < self._graph.at_once and not self._ports.draining():
            one = self._ready.popleft()
            parts.add(self._work(one, one.node.id, self._source(one), self._fields))

    def _ended(self, node_id: str) -> None:
        for number in self._graph.dependents[node_id]:
            heappush(self._due, number)

    # --- nodes that need nobody -------------------------------------------------------------------------------------
    async def _decide(self) -> _Decided | None:
        """Decides the nodes that need no I/O; None where there are none."""
        decided = _Decided()
        states = ChainMap(decided.states, self.state.nodes)
        while self._due:  # In order: a node may read what an earlier one decided.
            one = self._graph.nodes[heappop(self._due)]
            found = states.get(one.node.id)
            if one.node.id in self._tasks or one in self._ready or (found is not None and found.ended):
                continue
            await self._decide_one(one, decided, states)
            if one.node.id in decided.states:
                self._ended(one.node.id)
        return decided if decided.states else None

    async def _decide_one(self, one: GraphNode, decided: _Decided, states: Mapping[str, NodeState]) -> None:
        head, path = _head(one, self._source(one)), one.node.id
        try:
            stands = await self._in_thread(self._graph.costly, partial(readiness_of, one, self._graph, states))
            if stands is WAITING:
                return
            if stands is READY and one.type.decide is None:
                self._ready.append(one)
                return
            if stands is not READY:
                decided.states[path] = NodeState("skipped", reason=stands.reason)
                decided.events.append(Event(EventType.NODE_SKIPPED, {**head, "reason": stands.reason}))
                return
            decided.events.append(Event(EventType.NODE_STARTED, head))
            output = await self._decided(one, states)
        except (NodeFailed, ConditionError) as error:
            failure = error if isinstance(error, NodeFailed) else NodeFailed("condition_failed", str(error))
            decided.states[path] = NodeState("failed", error=failure.as_json(), attempts=1)
            decided.events.append(Event(EventType.NODE_FAILED, {**head, "error": failure.as_json()}))
            return
        decided.states[path] = NodeState("completed", output, attempts=1)
        decided.events.append(Event(EventType.NODE_COMPLETED, {**head, "output": output}))

    async def _decided(self, one: GraphNode, states: Mapping[str, NodeState]) -> Any:
        """The node's output. Raises NodeFailed."""
        assert one.type.decide is not None, "it is decided here"
        inputs = await self._inputs(one, self._values(one, states), self._fields)
        if one.joins and one.inputs is None:
            joined = joined_outputs(one, states)
            inputs = Inputs(joined, joined)
        output = await self._in_thread(one.node.costly, partial(one.type.decide, one.node, inputs))
        return await self._output(one, output)

    def _as_step(self, decided: _Decided) -> Checkpoint:
        made = decided.states
        return self._counted(Checkpoint(lambda: self.state.nodes.update(made), decided.events, nodes=list(made)))

    async def _in_thread(self, costly: bool, work: Callable[[], T]) -> T:
        return await self._ports.clock.in_thread(work) if costly else work()

    # --- nodes that work --------------------------------------------------------------------------------------------
    async def _work(
        self, one: GraphNode, path: str, source: Mapping[str, Any], fields: Mapping[str, Any], outer: Any = None
    ) -> AsyncGenerator[Step]:
        """A node's steps, to its end or until it waits for a person. `outer` are the values around a Map's item."""
        task = self._tasks[path] = self._task(one, path, source, fields)
        head = _head(one, source)
        try:
            values = self._values(one, self.state.nodes) if outer is None else {**outer, **fields}
            inputs = await self._inputs(one, values, fields)
        except NodeFailed as error:
            yield [Event(EventType.NODE_STARTED, head)]
            yield (
                self._counted(attempts.failed(task, head, error))
                if outer is None
                else attempts.failed(task, head, error)
            )
            self._leave(path, outer)
            return
        work = attempts.attempted(one, inputs, task, head, self._output)
        async with aclosing(work) as steps:
            async for step in steps:
                yield self._counted(step) if isinstance(step, Checkpoint) and outer is None else step
                if isinstance(step, Checkpoint) and self._ports.draining() and task.resting and not task.state.ended:
                    return  # Another server continues from here.
        if task.state.ended:
            self._leave(path, outer)

    def _leave(self, path: str, outer: Any) -> None:
        self._tasks.pop(path, None)
        if outer is None:
            self._ended(path)

    def _counted(self, step: Checkpoint) -> Checkpoint:
        """Adds interrupted model calls, and counts all calls in the run's state."""

        def change() -> None:
            step.change()
            self.state.spend(step.uses)

        cut_off = self._taken()
        self.state.spend(cut_off)
        return replace(step, change=change, uses=[*step.uses, *cut_off])

    def _taken(self) -> Sequence[ModelUse]:
        taken, self._cut_off[:] = list(self._cut_off), []
        return taken

    def _task(self, one: GraphNode, path: str, source: Mapping[str, Any], fields: Mapping[str, Any]) -> Task:
        def child(index: int, item: Any) -> AsyncGenerator[Step]:
            assert one.inner is not None, "only a Map runs a node within"
            given = item if isinstance(item, dict) else {"input": item}
            below = f"{path}/{index}"
            inner_source = {**self._source(one.inner), "item": index, "parent_id": one.node.id}
            outer = {**self._values(one, self.state.nodes), **fields}
            return self._work(one.inner, below, inner_source, given, outer)

        return Task(
            self._run,
            path,
            self._state(path),
            source,
            self._models.get(one.key),
            self._ports,
            child,
            lambda index: self.state.nodes.get(f"{path}/{index}"),
            self._cut_off,
        )

    # --- inputs and outputs -----------------------------------------------------------------------------------------
    def _values(self, one: GraphNode, states: Mapping[str, NodeState]) -> dict[str, Any]:
        """What the node's paths may read: the run's fields, and the results of all nodes that it depends on, directly
        or indirectly."""
        return {**self._fields, **{name: result_of(states[name]) for name in sorted(one.ancestors)}}

    async def _inputs(self, one: GraphNode, values: Mapping[str, Any], own: Mapping[str, Any]) -> Inputs:
        """Raises NodeFailed."""
        if (mapped := one.inputs) is None:
            return Inputs(values, own)
        try:
            chosen = await self._in_thread(not mapped.cheap, partial(mapped.of, values))
        except PathError as error:
            raise NodeFailed("input_invalid", f"its input_transformer {error}") from error
        given = chosen if isinstance(chosen, dict) else {"input": chosen}
        return Inputs(given, given)

    async def _output(self, one: GraphNode, output: Any) -> Any:
        """The output after its transformer, in storable form. Raises NodeFailed."""
        if (mapped := one.outputs) is not None:
            try:
                output = await self._in_thread(not mapped.cheap, partial(mapped.of, output))
            except PathError as error:
                raise NodeFailed("output_invalid", f"its output_transformer {error}") from error
        kept, size = attempts.storable(output)
        self._bytes += size
        if self._bytes > STATE_BYTES_MAX:
            raise NodeFailed(
                "output_too_large", f"the outputs of this run are over {STATE_BYTES_MAX // 1024 // 1024} MiB"
            )
        return kept

    def _source(self, one: GraphNode) -> dict[str, Any]:
        return {"id": one.node.id, "name": one.node.title, "type": one.node.type}

    # --- the end ----------------------------------------------------------------------------------------------------
    def _raise_failure(self) -> None:
        """Raises RunStopped for a failed node, unless its definition says `return`, or a node behind an error edge
        ran."""
        taken_over = {
            edge.node
            for one in self._graph.nodes
            if self._state(one.node.id).status in ("completed", "failed")
            for edge in one.depends
            if edge.trigger == "failure"
        }
        for one in self._graph.nodes:
            state = self._state(one.node.id)
            if state.status == "failed" and not one.returns and one.node.id not in taken_over:
                error = state.error or {}
                message = f"The node {one.node.title!r} failed: {error.get('message')}"
                raise RunStopped(str(error.get("code")), message)


def _head(one: GraphNode, source: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every event of a node has."""
    return {**source, "object": "workflow.node", "type": one.node.type}
