"""The events of a run, one class for each type. docs/events.md describes them.

`match event: case ResponseDelta(): print(event.data.delta)`. Types that this version does not know are UnknownEvents.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from stoa_client.records import Record
from stoa_client.types import ErrorDetail, RunErrorDetail, Usage


class Log(Record):
    """The number of events before the terminal event, and the SHA-256 over their data, each followed by a newline."""

    events: int
    sha256: str


class Source(Record):
    """The origin of an event: a subagent or a node of a workflow."""

    id: str
    name: str
    type: str


class ToolRef(Record):
    name: str
    type: str


class EventData(Record):
    """`source` is set if the event comes from a subagent or a node of a workflow; `tool_call_id` is the call that
    started a subagent."""

    source: Source | None
    tool_call_id: str | None


class RunStartedData(EventData):
    id: str
    object: str
    status: str
    conversation_id: str | None
    message_id: str | None


class RunStatusData(EventData):
    id: str
    object: str
    status: str


class RunRecoveredData(EventData):
    """Discard the response text of earlier events with `sequence >= discard_from`."""

    id: str
    object: str
    attempt: int
    discard_from: int


class RunCompletedData(EventData):
    id: str
    object: str
    status: str
    output: str
    result: Any
    finish_reason: str | None
    usage: Usage
    log: Log | None


class RunFailedData(EventData):
    id: str
    object: str
    status: str
    error: RunErrorDetail
    usage: Usage
    log: Log | None


class RunCanceledData(EventData):
    id: str
    object: str
    status: str
    reason: str | None
    usage: Usage
    log: Log | None


class DeltaData(EventData):
    object: str
    delta: str
    iteration: int | None


class ContextCompactedData(EventData):
    object: str
    messages_left_out: int
    results_shortened: int
    iteration: int
    notice: str | None


class ToolCallStartedData(EventData):
    id: str
    object: str
    tool: ToolRef
    iteration: int


class ToolCallInputDeltaData(EventData):
    id: str
    object: str
    delta: str


class ToolCallCompletedData(EventData):
    id: str
    object: str
    tool: ToolRef
    input: Mapping[str, Any]
    result: str
    iteration: int


class ToolCallFailedData(EventData):
    id: str
    object: str
    tool: ToolRef
    input: Mapping[str, Any]
    error: ErrorDetail
    iteration: int


class SubagentStartedData(EventData):
    id: str
    object: str
    name: str
    brief: str
    parent_id: str | None


class SubagentCompletedData(EventData):
    id: str
    object: str
    name: str
    brief: str
    parent_id: str | None
    result: str


class SubagentFailedData(EventData):
    id: str
    object: str
    name: str
    brief: str
    parent_id: str | None
    error: ErrorDetail


class NodeStartedData(EventData):
    """A node of a workflow starts. `attempt` and `error` are set for a retry, `item` and `parent_id` inside a Map."""

    id: str
    object: str
    name: str
    type: str
    attempt: int | None
    error: ErrorDetail | None
    item: int | None
    parent_id: str | None


class NodeCompletedData(EventData):
    id: str
    object: str
    name: str
    type: str
    output: Any
    item: int | None
    parent_id: str | None


class NodeFailedData(EventData):
    id: str
    object: str
    name: str
    type: str
    error: ErrorDetail
    item: int | None
    parent_id: str | None


class NodeSkippedData(EventData):
    id: str
    object: str
    name: str
    type: str
    reason: str
    item: int | None
    parent_id: str | None


class HumanFeedbackRequestedData(EventData):
    """`id` is the request_id that `runs.answer` takes."""

    id: str
    object: str
    prompt: str
    options: list[str] | None


class ApprovalRequestCreatedData(EventData):
    """`id` is the request_id that `runs.approve` and `runs.decline` take."""

    id: str
    object: str
    prompt: str
    params: Mapping[str, Any]
    editable_params: list[str]


class Event(Record):
    """The fields of every event. `id` is the same on every read; `timestamp` is RFC 3339 in UTC."""

    id: str
    type: str
    sequence: int
    timestamp: str


class RunStarted(Event):
    data: RunStartedData


class RunPaused(Event):
    data: RunStatusData


class RunResumed(Event):
    data: RunStatusData


class RunRecovered(Event):
    data: RunRecoveredData


class RunCompleted(Event):
    data: RunCompletedData


class RunFailedEvent(Event):
    data: RunFailedData


class RunCanceledEvent(Event):
    data: RunCanceledData


class ResponseDelta(Event):
    data: DeltaData


class ReasoningDelta(Event):
    data: DeltaData


class ContextCompacted(Event):
    data: ContextCompactedData


class ToolCallStarted(Event):
    data: ToolCallStartedData


class ToolCallInputDelta(Event):
    data: ToolCallInputDeltaData


class ToolCallCompleted(Event):
    data: ToolCallCompletedData


class ToolCallFailed(Event):
    data: ToolCallFailedData


class SubagentStarted(Event):
    data: SubagentStartedData


class SubagentCompleted(Event):
    data: SubagentCompletedData


class SubagentFailed(Event):
    data: SubagentFailedData


class HumanFeedbackRequested(Event):
    data: HumanFeedbackRequestedData


class ApprovalRequestCreated(Event):
    data: ApprovalRequestCreatedData


class NodeStarted(Event):
    data: NodeStartedData


class NodeCompleted(Event):
    data: NodeCompletedData


class NodeFailed(Event):
    data: NodeFailedData


class NodeSkipped(Event):
    data: NodeSkippedData


class UnknownEvent(Event):
    """An event whose type this version does not know. Its data is in `data["field"]`."""

    data: Record


class StoredEvent(UnknownEvent):
    """An event of a page of `runs.events()`. `typed` converts it to the class of its type."""

    @property
    def typed(self) -> "AnyEvent":
        return event(self.raw)


TerminalEvent: TypeAlias = RunCompleted | RunFailedEvent | RunCanceledEvent
AnyEvent: TypeAlias = (
    RunStarted
    | RunPaused
    | RunResumed
    | RunRecovered
    | RunCompleted
    | RunFailedEvent
    | RunCanceledEvent
    | ResponseDelta
    | ReasoningDelta
    | ContextCompacted
    | ToolCallStarted
    | ToolCallInputDelta
    | ToolCallCompleted
    | ToolCallFailed
    | SubagentStarted
    | SubagentCompleted
    | SubagentFailed
    | HumanFeedbackRequested
    | ApprovalRequestCreated
    | NodeStarted
    | NodeCompleted
    | NodeFailed
    | NodeSkipped
    | UnknownEvent
)

TABLE: Final[Mapping[str, type[AnyEvent]]] = {
    "run.started": RunStarted,
    "run.paused": RunPaused,
    "run.resumed": RunResumed,
    "run.recovered": RunRecovered,
    "run.completed": RunCompleted,
    "run.failed": RunFailedEvent,
    "run.canceled": RunCanceledEvent,
    "agent.response.delta": ResponseDelta,
    "agent.reasoning.delta": ReasoningDelta,
    "agent.context.compacted": ContextCompacted,
    "agent.tool_call.started": ToolCallStarted,
    "agent.tool_call.input.delta": ToolCallInputDelta,
    "agent.tool_call.completed": ToolCallCompleted,
    "agent.tool_call.failed": ToolCallFailed,
    "agent.subagent.started": SubagentStarted,
    "agent.subagent.completed": SubagentCompleted,
    "agent.subagent.failed": SubagentFailed,
    "agent.human_feedback.requested": HumanFeedbackRequested,
    "approval_request.created": ApprovalRequestCreated,
    "workflow.node.started": NodeStarted,
    "workflow.node.completed": NodeCompleted,
    "workflow.node.failed": NodeFailed,
    "workflow.node.skipped": NodeSkipped,
}
"""Name of an event's type → its class. A test compares it with the server's table."""


def event(raw: Mapping[str, Any]) -> AnyEvent:
    return TABLE.get(str(raw.get("type")), UnknownEvent)(raw)
