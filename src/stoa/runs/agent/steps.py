"""The steps of the agent loop: events, and checkpoints that must be durable before it continues."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from stoa.events import NAMES, Event, EventType, TextDelta
from stoa.memory import MemoryAddition
from stoa.runs.types import ModelUse


@dataclass(frozen=True, slots=True)
class AgentScope:
    """The acting agent: the run's own, a subagent, or a node of a workflow. The events of the latter two name it as
    their `source`. `path` makes its tool calls distinct within the run."""

    path: str = ""
    depth: int = 0
    source: Mapping[str, str] | None = None
    tool_call_id: str | None = None

    def subagent(self, call_id: str, name: str) -> "AgentScope":
        return AgentScope(
            f"{self.path}/{call_id}", self.depth + 1, {"id": call_id, "name": name, "type": "agent"}, call_id
        )

    def event(self, event_type: EventType, data: Mapping[str, Any]) -> Event:
        if self.source is None:
            return Event(event_type, data)
        if self.tool_call_id is None:  # A node of a workflow, which is not started by a call.
            return Event(event_type, {**data, "source": self.source})
        return Event(event_type, {**data, "source": self.source, "tool_call_id": self.tool_call_id})

    def of_subagent(self, event_type: EventType, data: Mapping[str, Any]) -> Event:
        """The source of an event: the node for a node's own agent; `parent_id` for a subagent."""
        return self.event(event_type, data) if self.tool_call_id is None else Event(event_type, data)

    def delta(self, event_type: EventType, text: str, iteration: int) -> Event | TextDelta:
        if self.source is None:
            return TextDelta(event_type, text, iteration)
        return self.event(event_type, {"object": NAMES[event_type], "delta": text, "iteration": iteration})


class RunStopped(Exception):
    """The run, or a subagent, cannot continue: an outcome, with a stable `code` and a sentence."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


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
    """The change of a checkpoint that only has events."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A step, stored in one transaction with the run's state. `change` is applied to the state just before."""

    change: Callable[[], None] = _nothing
    events: Sequence[Event] = ()
    ledger: Sequence[LedgerEntry] = ()
    requests: Sequence[Question] = ()
    uses: Sequence[ModelUse] = ()
    """Model calls, for the bill."""
    nodes: Sequence[str] = ()
    """Paths of the workflow's nodes whose state has changed."""
    remember: Sequence[MemoryAddition] = ()
    """What memories store of it."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The last step of a run that needs a person's answer."""


@dataclass(frozen=True, slots=True)
class Released:
    """The last step of a run that this node releases, because it shuts down."""


NewEvents: TypeAlias = Sequence[Event | TextDelta]
Step: TypeAlias = NewEvents | Checkpoint | Interrupt | Released


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer to a request, or its expiry."""

    status: Literal["answered", "expired"]
    approved: bool = False
    feedback: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
