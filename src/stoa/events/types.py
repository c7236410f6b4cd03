"""The closed vocabulary of run events (contract section 4.2): pure data.

An event is a type and the `data` that goes out. The journal adds sequence, time and id when it writes the event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple


class EventType(IntEnum):
    """The number in the database. A number is never used again for another type."""

    RUN_STARTED = 1
    REASONING_DELTA = 2
    RESPONSE_DELTA = 3
    TOOL_CALL_STARTED = 4
    TOOL_CALL_INPUT_DELTA = 5
    TOOL_CALL_COMPLETED = 6
    TOOL_CALL_FAILED = 7
    SUBAGENT_STARTED = 8
    SUBAGENT_COMPLETED = 9
    SUBAGENT_FAILED = 10
    HUMAN_FEEDBACK_REQUESTED = 11
    APPROVAL_REQUEST_CREATED = 12
    RUN_PAUSED = 13
    RUN_RESUMED = 14
    RUN_RECOVERED = 15
    RUN_COMPLETED = 16
    RUN_FAILED = 17
    RUN_CANCELED = 18
    CONTEXT_COMPACTED = 19
    NODE_STARTED = 20
    NODE_COMPLETED = 21
    NODE_FAILED = 22
    NODE_SKIPPED = 23


@dataclass(frozen=True, slots=True)
class EventInfo:
    """A type's name on the wire, its section of docs/events.md, and what that page says of `data`."""

    name: str
    section: str
    doc: str


TABLE: Final[Mapping[EventType, EventInfo]] = {
    EventType.RUN_STARTED: EventInfo(
        "run.started",
        "The run",
        'always sequence 1: `{id, object: "run", status: "started", conversation_id, message_id}`',
    ),
    EventType.RUN_PAUSED: EventInfo(
        "run.paused",
        "The run",
        'the run waits for people: `{id, object: "run", status: "paused"}`',
    ),
    EventType.RUN_RESUMED: EventInfo(
        "run.resumed",
        "The run",
        'somebody answered, or nobody did in time: `{id, object: "run", status: "started"}`',
    ),
    EventType.RUN_RECOVERED: EventInfo(
        "run.recovered",
        "The run",
        'its node died and another goes on: `{id, object: "run", attempt, discard_from}`. Response text '
        "of events with `sequence ≥ discard_from` that came before this one is void and follows anew",
    ),
    EventType.RUN_COMPLETED: EventInfo(
        "run.completed",
        "The run",
        'terminal: `{id, object: "run", status: "completed", output, result?, finish_reason?, usage, log}`',
    ),
    EventType.RUN_FAILED: EventInfo(
        "run.failed",
        "The run",
        'terminal: `{id, object: "run", status: "failed", error: {code, message, retryable}, usage, log}`',
    ),
    EventType.RUN_CANCELED: EventInfo(
        "run.canceled",
        "The run",
        'terminal: `{id, object: "run", status: "canceled", reason, usage, log}`',
    ),
    EventType.RESPONSE_DELTA: EventInfo(
        "agent.response.delta",
        "The answer",
        "a piece of the answer: `{object, delta, iteration}`",
    ),
    EventType.REASONING_DELTA: EventInfo(
        "agent.reasoning.delta",
        "The answer",
        "a piece of what the model thinks aloud: `{object, delta, iteration}`",
    ),
    EventType.CONTEXT_COMPACTED: EventInfo(
        "agent.context.compacted",
        "The answer",
        'the model does not read all of the conversation: `{object: "agent.context", messages_left_out, '
        "results_shortened, iteration, notice?}`; `notice` says what its provider does not take (a picture, a tool)",
    ),
    EventType.TOOL_CALL_STARTED: EventInfo(
        "agent.tool_call.started",
        "Tools",
        '`{id, object: "agent.tool_call", tool: {name, type}, iteration}`',
    ),
    EventType.TOOL_CALL_INPUT_DELTA: EventInfo(
        "agent.tool_call.input.delta",
        "Tools",
        "a piece of the arguments, as the model writes them: `{id, object, delta}`",
    ),
    EventType.TOOL_CALL_COMPLETED: EventInfo(
        "agent.tool_call.completed",
        "Tools",
        "`{id, object, tool, input, result, iteration}`; `input` as it was used, `result` a string",
    ),
    EventType.TOOL_CALL_FAILED: EventInfo(
        "agent.tool_call.failed",
        "Tools",
        "as completed, with `error: {code, message}` for `result`; the model reads the message and goes on",
    ),
    EventType.SUBAGENT_STARTED: EventInfo(
        "agent.subagent.started",
        "Subagents",
        '`{id, object: "agent.subagent", name, brief, parent_id?}`',
    ),
    EventType.SUBAGENT_COMPLETED: EventInfo(
        "agent.subagent.completed",
        "Subagents",
        "the same with `result`",
    ),
    EventType.SUBAGENT_FAILED: EventInfo(
        "agent.subagent.failed",
        "Subagents",
        "the same with `error: {code, message}`; the others go on",
    ),
    EventType.HUMAN_FEEDBACK_REQUESTED: EventInfo(
        "agent.human_feedback.requested",
        "People",
        'a question: `{id, object: "agent.human_feedback", prompt, options?}`',
    ),
    EventType.APPROVAL_REQUEST_CREATED: EventInfo(
        "approval_request.created",
        "People",
        'a tool call waits: `{id, object: "approval_request", prompt, params, editable_params, tool_call_id}`',
    ),
    EventType.NODE_STARTED: EventInfo(
        "workflow.node.started",
        "Nodes of a workflow",
        'a node begins: `{id, object: "workflow.node", name, type, attempt?, error?, item?, parent_id?}`',
    ),
    EventType.NODE_COMPLETED: EventInfo(
        "workflow.node.completed",
        "Nodes of a workflow",
        "the same with `output`",
    ),
    EventType.NODE_FAILED: EventInfo(
        "workflow.node.failed",
        "Nodes of a workflow",
        "the same with `error: {code, message}`, after its last attempt",
    ),
    EventType.NODE_SKIPPED: EventInfo(
        "workflow.node.skipped",
        "Nodes of a workflow",
        "the same with `reason`",
    ),
}
"""The one table of event types; docs/events.md is written from it by tools/docs/events.py."""

NAMES: Final[Mapping[EventType, str]] = {event_type: info.name for event_type, info in TABLE.items()}
TERMINAL: Final = frozenset({EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELED})
DELTAS: Final = frozenset({EventType.REASONING_DELTA, EventType.RESPONSE_DELTA})
"""Types whose `delta` strings may be joined: adjacent ones of one iteration in the same tick become one event."""


@dataclass(frozen=True, slots=True)
class Event:
    type: EventType
    data: Mapping[str, Any]


class StoredEvent(NamedTuple):
    """An event as the journal keeps it. `timestamp` is RFC 3339."""

    type: EventType
    sequence: int
    timestamp: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A delta of reasoning or response. Most events are of this type, so joining two only concatenates strings."""

    type: EventType
    delta: str
    iteration: int


class Unencodable(Exception):
    """A run wrote an event whose data is not JSON: a string with lone surrogates, an integer beyond 64 bits, a key that
    is no string, lists nested too deep, or a value of no JSON type. An outcome of that run, with a stable `code`.
    """

    code: Final = "output_unstorable"

    def __init__(self, event_type: EventType, reason: str, before: int = 0) -> None:
        self.message = (
            f"The run produced something that is no JSON ({NAMES[event_type]}: {reason}), so it cannot be stored; "
            "what it had said before is kept."
        )
        self.before = before
        """How many of the events written together came before it."""
        super().__init__(self.message)
