"""What the agent loop yields: things said, and boundaries that must be durable before it goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from stoa.events import NAMES, Event, EventType, TextDelta
from stoa.runs.types import ModelUse


@dataclass(frozen=True, slots=True)
class AgentScope:
    """Who is at work: the agent itself, or a helper, whose events say so."""

    path: str = ""
    depth: int = 0
    source: Mapping[str, str] | None = None
    tool_call_id: str | None = None

    def helper(self, call_id: str, name: str) -> "AgentScope":
        return AgentScope(
            f"{self.path}/{call_id}", self.depth + 1, {"id": call_id, "name": name, "type": "agent"}, call_id
        )

    def event(self, kind: EventType, data: Mapping[str, Any]) -> Event:
        if self.source is None:
            return Event(kind, data)
        return Event(kind, {**data, "source": self.source, "tool_call_id": self.tool_call_id})

    def delta(self, kind: EventType, text: str, iteration: int) -> Event | TextDelta:
        if self.source is None:
            return TextDelta(kind, text, iteration)
        return self.event(kind, {"object": NAMES[kind], "delta": text, "iteration": iteration})


class RunStopped(Exception):
    """The run, or a helper's part of it, cannot go on: an outcome, with a stable `code` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A line of the tool ledger: before the call (`begun`) and after it."""

    id: UUID
    name: str
    kind: str
    input: Mapping[str, Any]
    idempotent: bool
    status: Literal["begun", "completed", "failed", "unknown"]
    result: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person."""

    id: UUID
    type: Literal["human_feedback", "approval_request"]
    prompt: str
    params: Mapping[str, Any]
    editable_params: Sequence[str]
    options: Sequence[str] | None
    seconds_max: float
    schema: Mapping[str, Any] | None = None
    """What `params` must satisfy, also after a person has changed some of them."""


def _nothing() -> None:
    """The change of a boundary that only says something."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything of it is stored in one transaction with the run's state. `change` brings the state up to it, just before."""

    change: Callable[[], None] = _nothing
    events: Sequence[Event] = ()
    ledger: Sequence[LedgerEntry] = ()
    requests: Sequence[Question] = ()
    use: ModelUse | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The last step of a run that only people can bring further."""


Said: TypeAlias = Sequence[Event | TextDelta]
Step: TypeAlias = Said | Checkpoint | Interrupt


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person said to a request, or that nobody did in time."""

    status: Literal["answered", "expired"]
    approved: bool = False
    feedback: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
