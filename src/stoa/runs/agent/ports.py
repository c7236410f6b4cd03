"""What a run works with: the model, its tools, people's answers. The loop and its calls see nothing else."""

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
    """Checks against schemas of strangers, in bounded time."""

    async def argument_problem(self, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
        """Why arguments of a tool do not fit; None when they do."""
        ...

    async def output_problem(self, text: str, schema: Mapping[str, Any]) -> str | None:
        """Why a text is not the JSON that was asked for; None when it is."""
        ...


def _none(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Supply:
    """A model: the adapter, its slug, and what its tokens cost (None where no price is known)."""

    model: Model
    slug: str
    price: Callable[[Usage], float | None]
    sampled: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _none
    """OpenAI's fields of how to answer (temperature, tool_choice, …), in the words of the model's wire."""


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
    """Where the run's events go."""

    @property
    def ready(self) -> bool:
        """Whether it takes more now. False: the events are to be yielded, and whoever drives the loop waits or ends."""
        ...

    def write(self, event: Event | TextDelta) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """`price` gives US dollars, None where no price is known; `answers` are people's, by request."""

    model: Model
    model_name: str
    price: Callable[[Usage], float | None]
    conversation: ModelRequest
    left_out: int
    """Messages of the conversation that the request does not hold: they do not fit."""
    tools: Mapping[str, Tool]
    answers: Mapping[str, Answer]
    schemas: Schemas
    allow: Callable[[float], Awaitable[None]] | None = None
    """Called before each call of a model with the dollars that are on no bill yet. Raises RunStopped over the limit."""
    admitted: Callable[[], Awaitable[bool]] | None = None
    """Called before each call of a tool: false once the credential that began the run was revoked or has expired."""
    events: Events | None = None
    """Where words of the model go at once, while the loop waits for more. Without it the loop yields them."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run under way: whose it is, how far it is, and what it works with."""

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
"""Runs an agent until its answer is complete or waits for people: how a call hands its work to a subagent."""
