"""One running node: its state, and the operations of any node: call a model, call a tool, run another node."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stoa.gateway import ModelRequest
from stoa.runs.agent.calls import Calls
from stoa.runs.agent.checkpoint import AgentState, CallState, RunCheckpoint
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.loop import Loop
from stoa.runs.agent.parallel import Parallel
from stoa.runs.agent.ports import Job, Ports, Supply
from stoa.runs.agent.steps import AgentScope, Step
from stoa.runs.types import ModelUse, Run
from stoa.runs.workflow.ports import WorkflowPorts
from stoa.runs.workflow.state import NodeState


@dataclass(slots=True)
class Task:
    """`path` is the key of the node's state; `source` is the source of its events. `child` runs a Map's node for one
    item, `item` returns the state of one."""

    run: Run
    path: str
    state: NodeState
    source: Mapping[str, Any]
    model_id: UUID | None
    ports: WorkflowPorts
    child: Callable[[int, Any], AsyncGenerator[Step]]
    item: Callable[[int], NodeState | None]
    unbilled: list[ModelUse]
    """Receives interrupted model calls."""
    loop: Loop | None = None

    # --- models -----------------------------------------------------------------------------------------------------
    async def model(self) -> Supply:
        """Raises AppError."""
        return await self.ports.model(self.model_id)

    async def converse(
        self, agent: Agent, supply: Supply, conversation: ModelRequest, bases: Sequence[UUID] = ()
    ) -> AsyncGenerator[Step]:
        """The agent's steps, starting from its stored state. Another attempt continues after the last reply, so no tool
        call is repeated because of it."""
        if self.state.agent is None:
            self.state.agent = AgentState()
        tools = dict(self.ports.tools)
        if bases:
            searching = self.ports.knowledge(bases)
            tools[searching.name] = searching
        if agent.resources:
            tools |= {own.name: own for own in await self.ports.resource_tools(agent.resources)}
        ports = Ports(
            supply.model,
            supply.slug,
            supply.price,
            conversation,
            0,
            tools,
            self.ports.answers,
            self.ports.schemas,
            self.ports.allow(supply.price),
            self.ports.admitted,
        )
        loop = self.loop = Loop(self.run, agent, RunCheckpoint(self.state.agent), ports)
        try:
            async with aclosing(loop.converse(agent, self.state.agent, self._scope())) as steps:
                async for step in steps:
                    yield step
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Ends the active reply; what it used so far is billed."""
        if self.loop is not None:
            self.loop.abandon()
            self.unbilled += self.loop.unbilled
            self.loop = None

    @property
    def waits(self) -> bool:
        """Whether the agent cannot continue before a person answers."""
        agent = self.state.agent
        return agent is not None and bool(agent.turns) and agent.turns[-1].open

    @property
    def answer(self) -> str:
        agent = self.state.agent
        return agent.turns[-1].text if agent is not None and agent.turns else ""

    @property
    def resting(self) -> bool:
        """Whether nothing is active whose outcome would be lost: neither a reply nor a call that has begun."""
        if self.loop is not None and not self.loop.resting:
            return False
        return not any(call.begun and not call.settled for call in self.state.calls())

    # --- tools and people -------------------------------------------------------------------------------------------
    async def execute(self, call: CallState, agent: Agent) -> AsyncGenerator[Step]:
        """Works on a call until it has a result or waits for a person, like an agent's calls."""
        async with aclosing(self._calls(agent).execute(call)) as steps:
            async for step in steps:
                yield step

    def _calls(self, agent: Agent) -> Calls:
        async def nobody(*_: Any) -> AsyncGenerator[Step]:
            raise AssertionError("a call of a node starts no subagent")
            yield ()

        job = Job(self.run, RunCheckpoint(), self.ports)
        return Calls(job, nobody, agent, self._scope(), 1)

    def _scope(self) -> AgentScope:
        return AgentScope(f"/{self.path}", 0, self.source)

    # --- items of a Map ---------------------------------------------------------------------------------------------
    async def each(self, items: Sequence[Any], at_once: int, *, stop_at_failure: bool) -> AsyncGenerator[Step]:
        """Runs the node for each item that has not ended, a limited number at once."""
        waiting = iter([index for index in range(len(items)) if not self._ended(index)])
        async with Parallel() as parts:
            while True:
                failed = stop_at_failure and any(one and one.status == "failed" for one in self.items(len(items)))
                self._fill(parts, items, waiting, 0 if failed or self.ports.draining() else at_once)
                if not parts.running:
                    return
                step = await parts.next()
                if step is not None:
                    yield step

    def _fill(self, parts: Parallel, items: Sequence[Any], waiting: Iterator[int], at_once: int) -> None:
        while parts.running < at_once and (index := next(waiting, None)) is not None:
            parts.add(self.child(index, items[index]))

    def items(self, count: int) -> Sequence[NodeState | None]:
        return [self.item(index) for index in range(count)]

    def _ended(self, index: int) -> bool:
        found = self.item(index)
        return found is not None and found.ended
