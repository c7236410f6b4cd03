"""The agent loop: an async generator of steps over ports. It sees no database, no journal and no clock.

A reply of the model, its tool calls, the next reply, until a reply calls no more tools. State that must not be lost is
yielded as a `Checkpoint`; the loop continues once it is stored. So a node that takes over finds either the state before
it or the state after it.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from stoa import events, gateway
from stoa.events import Event, EventType
from stoa.gateway import (
    Answering,
    Finish,
    ModelError,
    Notice,
    ProviderData,
    Pushes,
    ReasoningDelta,
    ToolCallDelta,
    Usage,
    arguments_in,
    estimated_tokens,
)
from stoa.kernel.storable import as_storable
from stoa.runs.agent import builtin, calls, prompting
from stoa.runs.agent.checkpoint import AgentState, CallState, RunCheckpoint, Turn, call_id
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.parallel import merged
from stoa.runs.agent.ports import Events, Job, Ports
from stoa.runs.agent.steps import AgentScope, Checkpoint, Interrupt, RunStopped, Step
from stoa.runs.types import ModelUse, Run

REPAIR: Final = (
    "Your answer does not satisfy the schema that was asked for: {problem}. "
    "Answer again, with the corrected JSON alone."
)
CUT: Final = {
    "code": "tool_bad_arguments",
    "message": "This call was not made: the reply ended before its arguments were complete."
    " Write shorter arguments, or several calls.",
}
TOKENS_MAX: Final = 2**31 - 1
"""The range of the bill's columns. A provider that counts more in one reply counts wrongly."""


CLIENT: Final = "client"
"""The `type` of a tool that the client calls itself."""


def _undone(agent: Agent, turn: Turn) -> list[CallState]:
    """The calls that this server has to make, or that wait for a person; without the client's own calls."""
    client = agent.client_names
    return [call for call in turn.calls if not call.settled and call.name not in client]


def _withheld(reply: "Reply") -> ModelError | None:
    """The error for a reply that ended by a refusal or a content filter; None for any other end."""
    assert reply.finish is not None, "a model's stream ends with Finish or raises"
    if reply.pieces or reply.calls or reply.finish.reason not in ("content_filter", "refusal"):
        return None
    refused = reply.finish.reason == "refusal"
    sentence = "The model refused to answer." if refused else "The provider's content filter withheld the answer."
    return ModelError("content_filtered", sentence, retryable=False)


def _cut_call(reply: "Reply", turn: Turn) -> CallState | None:
    """The call whose arguments the end of a reply cut off: its last one, where that is no object. A call without any
    arguments is not to be made with none."""
    if not turn.calls or reply.finish is None or reply.finish.reason in ("stop", "tool_calls"):
        return None
    last = turn.calls[-1]
    return last if not last.arguments.strip() or arguments_in(last.arguments) is None else None


@dataclass(slots=True)
class Reply:
    """A reply in progress."""

    prompt_tokens: int
    pieces: list[str] = field(default_factory=list[str])
    calls: dict[int, CallState] = field(default_factory=dict[int, CallState])
    silent_characters: int = 0
    """Characters of reasoning and tool calls: paid for, but not part of the answer."""
    reported: Usage | None = None
    finish: Finish | None = None
    provider: ProviderData | None = None
    answering: Answering | None = None
    """Who gives it, where several models stand behind one name."""
    root: bool = True

    @property
    def used(self) -> Usage:
        """The provider's count, or our estimate where it sent none (yet)."""
        if self.reported is not None:
            return self.reported
        said = sum(map(len, self.pieces)) + self.silent_characters
        return Usage(self.prompt_tokens, estimated_tokens(said), estimated=True)


class Loop:
    def __init__(self, run: Run, agent: Agent, state: RunCheckpoint, ports: Ports) -> None:
        self.state = state
        self.ports = ports
        self.unbilled: list[ModelUse] = []
        """Calls of the model that no checkpoint has stored: the end of the run does."""
        self.finish_reason: str | None = None
        """How the agent's own last reply ended."""
        self._run = run
        self._agent = agent
        self._replies: list[Reply] = []

    # --- the state at a cancel ----------------------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """The answer as it was streamed; with an output schema only its last version. Call `abandon` first."""
        said = [turn.text for turn in self.state.agent.turns if turn.note is None]
        return "".join(said[-1:] if self._agent.output_schema is not None else said)

    @property
    def resting(self) -> bool:
        """Whether the run can be released without loss: no reply and no begun call is in progress."""
        return not self._replies and not any(call.begun and not call.settled for call in self.state.agent.calls())

    def abandon(self) -> None:
        """Ends the replies in progress; their text and usage so far are kept."""
        for reply in tuple(self._replies):
            self._break_off(reply)

    # --- the run ----------------------------------------------------------------------------------------------------
    async def drive(self) -> AsyncGenerator[Step]:
        """Yields steps until the answer is complete, or `Interrupt`. Raises ModelError and RunStopped."""
        async with aclosing(self.converse(self._agent, self.state.agent, AgentScope())) as steps:
            async for step in steps:
                yield step
        if _undone(self._agent, self.state.agent.turns[-1]):
            yield Interrupt()

    async def _output_problem(self, text: str, agent: Agent) -> str | None:
        if agent.output_schema is None:
            return None
        return await self.ports.schemas.output_problem(text, agent.output_schema)

    async def converse(self, agent: Agent, state: AgentState, scope: AgentScope) -> AsyncGenerator[Step]:
        """Runs until the answer is complete, or until a person has to answer."""
        while True:
            last = state.turns[-1] if state.turns else None
            if last is not None and last.open:
                async with aclosing(self._calls(agent, state, last, scope)) as steps:
                    async for step in steps:
                        yield step
                if last.open:  # It waits for a person, or for the client to make the remaining calls.
                    return
            elif last is not None and last.note is None and not last.calls:
                problem = await self._output_problem(last.text, agent)
                if problem is None:
                    return
                if state.repaired:
                    raise RunStopped("output_invalid", f"The answer does not satisfy the output schema: {problem}.")
                state.repaired = True
                state.turns.append(Turn(note=REPAIR.format(problem=problem)))
            else:
                self._allow_reply(agent, state)
                if self.ports.allow is not None:
                    await self.ports.allow(sum(use.cost_usd or 0.0 for use in self.unbilled))
                async with aclosing(self._reply(agent, state, scope)) as steps:
                    async for step in steps:
                        yield step

    def _calls(self, agent: Agent, state: AgentState, turn: Turn, scope: AgentScope) -> AsyncGenerator[Step]:
        job = Job(self._run, self.state, self.ports)
        made = calls.Calls(job, self.converse, agent, scope, state.iteration)
        return merged([made.execute(call) for call in _undone(agent, turn)])

    def _allow_reply(self, agent: Agent, state: AgentState) -> None:
        """Checks the limits before each model call. Raises RunStopped."""
        limits, used, cost = agent.limits, self.state.usage, self.state.cost_usd or 0.0
        if state.iteration >= limits.iterations_max:
            raise RunStopped(
                "iterations_exhausted",
                f"The agent used all its {limits.iterations_max} iterations without coming to an end;"
                " raise limits.iterations_max.",
            )
        if limits.tokens_max is not None and used.prompt_tokens + used.completion_tokens >= limits.tokens_max:
            raise RunStopped(
                "tokens_exhausted",
                f"The run has used {used.prompt_tokens + used.completion_tokens} tokens;"
                f" limits.tokens_max is {limits.tokens_max}.",
            )
        if limits.cost_usd_max is not None and cost >= limits.cost_usd_max:
            raise RunStopped(
                "cost_exhausted",
                f"The run has cost {cost:.4f} US dollars; limits.cost_usd_max is {limits.cost_usd_max}.",
            )

    # --- one reply --------------------------------------------------------------------------------------------------
    async def _reply(self, agent: Agent, state: AgentState, scope: AgentScope) -> AsyncGenerator[Step]:
        iteration = state.iteration + 1
        callable_ = self.ports.model.abilities.tools and not calls.revoked(state)
        offered = builtin.offered(agent, self.ports.tools, scope.depth) if callable_ else ()
        request, shortened = prompting.request(
            self.ports.conversation, agent, state, offered, self.ports.model.abilities.context_tokens
        )
        left_out = self.ports.left_out if scope.source is None else 0
        if (shortened or left_out) and not state.compacted:
            state.compacted = True
            counts = {"messages_left_out": left_out, "results_shortened": shortened, "iteration": iteration}
            yield [scope.event(EventType.CONTEXT_COMPACTED, {"object": "agent.context", **counts})]
        reply = Reply(estimated_tokens(prompting.characters(request)), root=scope.source is None)
        self._replies.append(reply)
        try:
            async with self.ports.model.stream(request) as deltas:
                if isinstance(deltas, Pushes) and (sink := self.ports.events) is not None:
                    deltas.push_to(partial(self._take, sink, reply, scope, iteration))
                async for batch in deltas:
                    if said := self._said(batch, reply, scope, iteration):
                        yield said
            problem = _withheld(reply)
        except ModelError as error:
            problem = error
        if scope.source is None:
            self.finish_reason = reply.finish.reason if reply.finish is not None else "error"
        if problem is not None:
            self._break_off(reply)
            raise problem
        turn = Turn("".join(reply.pieces), [reply.calls[index] for index in sorted(reply.calls)])
        if turn.calls and reply.provider is not None:
            turn.provider = asdict(reply.provider)
        cut = _cut_call(reply, turn)

        def change() -> None:
            self._settle(reply)
            if cut is not None:
                cut.error = dict(CUT)
            state.turns.append(turn)
            state.iteration = iteration

        if scope.source is None and not turn.calls:  # The end of the run stores it.
            self.unbilled.append(self._use(reply))
            change()
        else:
            told = (
                [self._not_made(cut, scope, iteration)] if cut is not None and not builtin.is_builtin(cut.name) else []
            )
            yield Checkpoint(change, told, uses=[self._use(reply)])

    def _not_made(self, call: CallState, scope: AgentScope, iteration: int) -> Event:
        data = {**self._head(call, scope), "input": {}, "error": CUT, "iteration": iteration}
        return scope.event(EventType.TOOL_CALL_FAILED, data)

    def _head(self, call: CallState, scope: AgentScope) -> dict[str, Any]:
        """What the events of a call begin with."""
        client = scope.source is None and call.name in self._agent.client_names
        kind = CLIENT if client else calls.kind_of(self.ports.tools.get(call.name))
        return {"id": call.id, "object": "agent.tool_call", "tool": {"name": call.name, "type": kind}}

    def _take(
        self, sink: Events, reply: Reply, scope: AgentScope, iteration: int, batch: Sequence[gateway.Delta]
    ) -> bool:
        """Writes deltas that arrive while `_reply` waits for them, without waking its task."""
        if not sink.ready:
            return False
        for event in self._said(batch, reply, scope, iteration):
            sink.write(event)
        return True

    def _said(
        self, batch: Sequence[gateway.Delta], reply: Reply, scope: AgentScope, iteration: int
    ) -> list[Event | events.TextDelta]:
        said: list[Event | events.TextDelta] = []
        for delta in batch:
            kind = type(delta)
            if kind is gateway.TextDelta:
                text = as_storable(delta.text)  # pyright: ignore[reportAttributeAccessIssue]
                reply.pieces.append(text)
                said.append(scope.delta(EventType.RESPONSE_DELTA, text, iteration))
            elif isinstance(delta, ReasoningDelta):
                reply.silent_characters += len(delta.text)
                said.append(scope.delta(EventType.REASONING_DELTA, as_storable(delta.text), iteration))
            elif isinstance(delta, ToolCallDelta):
                said += self._calling(delta, reply, scope, iteration)
            elif isinstance(delta, Usage):
                reply.reported = _bounded(delta)
            elif isinstance(delta, Notice):
                about = {"messages_left_out": 0, "results_shortened": 0, "notice": as_storable(delta.text)}
                about |= {"object": "agent.context", "iteration": iteration}
                said.append(scope.event(EventType.CONTEXT_COMPACTED, about))
            elif isinstance(delta, ProviderData):
                reply.provider = delta
            elif isinstance(delta, Answering):
                reply.answering = delta
            else:
                assert isinstance(delta, Finish)
                reply.finish = delta
        return said

    def _calling(
        self, delta: ToolCallDelta, reply: Reply, scope: AgentScope, iteration: int
    ) -> list[Event | events.TextDelta]:
        said: list[Event | events.TextDelta] = []
        call = reply.calls.get(delta.index)
        if call is None:
            call = CallState(
                call_id(self._run.id, self._run.attempt, scope.path, iteration, delta.index),
                as_storable(delta.name or ""),
                "",
            )
            reply.calls[delta.index] = call
            if not builtin.is_builtin(call.name):
                begun = {**self._head(call, scope), "iteration": iteration}
                said.append(scope.event(EventType.TOOL_CALL_STARTED, begun))
        if delta.arguments:
            call.arguments += as_storable(delta.arguments)
            reply.silent_characters += len(delta.arguments)
            if not builtin.is_builtin(call.name):
                said.append(
                    scope.event(
                        EventType.TOOL_CALL_INPUT_DELTA,
                        {"id": call.id, "object": "agent.tool_call", "delta": as_storable(delta.arguments)},
                    )
                )
        return said

    # --- the bill ---------------------------------------------------------------------------------------------------
    def _use(self, reply: Reply) -> ModelUse:
        if (answering := reply.answering) is not None:
            return ModelUse(answering.model, reply.used, answering.price(reply.used))
        return ModelUse(self.ports.model_name, reply.used, self.ports.price(reply.used))

    def _settle(self, reply: Reply) -> None:
        self._replies.remove(reply)
        self.state.spend([self._use(reply)])

    def _break_off(self, reply: Reply) -> None:
        self.unbilled.append(self._use(reply))
        self._settle(reply)
        if reply.root and reply.pieces:
            self.state.agent.turns.append(Turn("".join(reply.pieces)))


def _bounded(usage: Usage) -> Usage:
    """A provider's count, made to fit the bill."""
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
    if all(0 <= count <= TOKENS_MAX for count in counts):
        return usage
    return Usage(*(min(max(count, 0), TOKENS_MAX) for count in counts), estimated=True)
