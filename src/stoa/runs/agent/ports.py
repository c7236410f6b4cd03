"""The ports of the agent loop: the model, tools, people's answers. The loop and its calls see nothing else."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from stoa.events import Event, TextDelta
from stoa.gateway import Model, ModelRequest, Usage
from stoa.runs.agent.checkpoint import AgentState, RunCheckpoint
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.resources import AgentResources
from stoa.runs.agent.steps import AgentScope, Answer, Step
from stoa.runs.types import Run
from stoa.tools import Call, Tool


class Schemas(Protocol):
    """Checks against untrusted schemas, in bounded time."""

    async def argument_problem(self, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
        """Why a tool's arguments do not match; None if they do."""
        ...

    async def output_problem(self, text: str, schema: Mapping[str, Any]) -> str | None:
        """Why a text does not match the schema; None if it does."""
        ...


def _none(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Supply:
    """A model: the adapter, its slug, and its price (None if unknown)."""

    model: Model
    slug: str
    price: Callable[[Usage], float | None]
    sampled: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _none
    """OpenAI's parameters (temperature, tool_choice, …), in the model's wire format."""


class CallPorts(Protocol):
    """What a tool call needs."""

    @property
    def tools(self) -> Mapping[str, Tool]: ...

    @property
    def answers(self) -> Mapping[str, Answer]: ...

    @property
    def schemas(self) -> Schemas: ...

    @property
    def admitted(self) -> Callable[[], Awaitable[bool]] | None: ...


class Events(Protocol):
    """The sink of the run's events."""

    @property
    def ready(self) -> bool:
        """Whether it accepts more now. False: the events must be yielded, and the driver waits or ends."""
        ...

    def write(self, event: Event | TextDelta) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """`price` returns US dollars, None if unknown; `answers` are people's, by request."""

    model: Model
    model_name: str
    price: Callable[[Usage], float | None]
    conversation: ModelRequest
    left_out: int
    """Number of messages that were left out of the request because they do not fit."""
    tools: Mapping[str, Tool]
    answers: Mapping[str, Answer]
    schemas: Schemas
    allow: Callable[[float], Awaitable[None]] | None = None
    """Called before each model call with the unbilled dollars. Raises RunStopped above the limit."""
    admitted: Callable[[], Awaitable[bool]] | None = None
    """Called before each tool call: false once the run's credential was revoked or has expired."""
    events: Events | None = None
    """Receives the model's deltas directly while the loop waits for more. Without it the loop yields them."""


@dataclass(frozen=True, slots=True)
class Job:
    """One active run: its owner, its state, and its ports."""

    run: Run
    state: RunCheckpoint
    ports: CallPorts

    def call(self, call_id: str) -> Call:
        """What a tool gets to know of the call."""
        run = self.run
        return Call(run.org_id, run.project_id, run.id, call_id, run.user_id)


ResourceTools: TypeAlias = Callable[[Run, AgentResources], Awaitable[Sequence[Tool]]]
"""The tools for the resources of a run's agent."""

Converse: TypeAlias = Callable[[Agent, AgentState, AgentScope], AsyncGenerator[Step]]
"""Runs an agent until its answer is complete or waits for people; used by calls of subagents."""
