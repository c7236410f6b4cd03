"""The events of a stream as models, for the OpenAPI document only: a stream sends the stored bytes.

Loaded when somebody asks for the document. Forty models are 25 ms of a start that no stream needs.
"""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, RootModel, create_model

from stoa.events import NAMES, EventType
from stoa.http import Pagination, Timestamp, Wire


class EventSource(Wire):
    """Whose event it is, where it is not the run's own agent's."""

    id: str
    name: str
    type: str


class EventData(Wire):
    """More fields may come with later versions; clients ignore those that they do not know."""

    model_config = ConfigDict(extra="allow")

    source: EventSource | None = None


class RunData(EventData):
    id: UUID
    object: Literal["run"]


class RunStartedData(RunData):
    status: Literal["started"]
    conversation_id: UUID | None = None
    message_id: UUID | None = None


class RunStatusData(RunData):
    status: Literal["started", "paused"]


class RunRecoveredData(RunData):
    """Response text of events with `sequence` from `discard_from` on is void, and follows anew."""

    attempt: int
    discard_from: int


class EventError(Wire):
    code: str
    message: str


class EventLog(Wire):
    """`events` stand before this one; `sha256` is over the bytes of their `data:` values, each followed by one
    newline."""

    events: int
    sha256: str


class RunEndedData(RunData):
    usage: dict[str, Any] | None = None
    log: EventLog | None = None


class RunCompletedData(RunEndedData):
    status: Literal["completed"]
    output: Any
    result: Any | None = None
    finish_reason: str | None = None


class RunFailedData(RunEndedData):
    status: Literal["failed"]
    error: EventError


class RunCanceledData(RunEndedData):
    status: Literal["canceled"]
    reason: str | None = None


class DeltaData(EventData):
    object: str
    delta: str
    iteration: int | None = None


class EventTool(Wire):
    name: str
    type: str


class ToolCallData(EventData):
    id: str
    object: Literal["agent.tool_call"]
    tool: EventTool
    iteration: int | None = None


class ToolCallCompletedData(ToolCallData):
    input: dict[str, Any]
    result: str


class ToolCallFailedData(ToolCallData):
    input: dict[str, Any]
    error: EventError


class ToolCallInputData(EventData):
    id: str
    object: Literal["agent.tool_call"]
    delta: str


class SubagentData(EventData):
    id: str
    object: Literal["agent.subagent"]
    name: str
    brief: str
    parent_id: str | None = None


class SubagentCompletedData(SubagentData):
    result: str


class SubagentFailedData(SubagentData):
    error: EventError


class NodeData(EventData):
    """A node of a workflow. `item` and `parent_id` where it runs for an item of a Map; `attempt` and `error` where it
    tries again."""

    id: str
    object: Literal["workflow.node"]
    name: str
    type: str
    item: int | None = None
    parent_id: str | None = None


class NodeStartedData(NodeData):
    attempt: int | None = None
    error: EventError | None = None


class NodeCompletedData(NodeData):
    output: Any


class NodeFailedData(NodeData):
    error: EventError


class NodeSkippedData(NodeData):
    reason: str


class FeedbackRequestData(EventData):
    id: UUID
    object: str
    prompt: str
    options: Sequence[str] | None = None


class ApprovalRequestData(EventData):
    id: UUID
    object: Literal["approval_request"]
    prompt: str
    params: dict[str, Any]
    editable_params: Sequence[str]


class ContextData(EventData):
    object: Literal["agent.context"]


DATA: Final[Mapping[EventType, type[EventData]]] = {
    EventType.RUN_STARTED: RunStartedData,
    EventType.REASONING_DELTA: DeltaData,
    EventType.RESPONSE_DELTA: DeltaData,
    EventType.TOOL_CALL_STARTED: ToolCallData,
    EventType.TOOL_CALL_INPUT_DELTA: ToolCallInputData,
    EventType.TOOL_CALL_COMPLETED: ToolCallCompletedData,
    EventType.TOOL_CALL_FAILED: ToolCallFailedData,
    EventType.SUBAGENT_STARTED: SubagentData,
    EventType.SUBAGENT_COMPLETED: SubagentCompletedData,
    EventType.SUBAGENT_FAILED: SubagentFailedData,
    EventType.HUMAN_FEEDBACK_REQUESTED: FeedbackRequestData,
    EventType.APPROVAL_REQUEST_CREATED: ApprovalRequestData,
    EventType.RUN_PAUSED: RunStatusData,
    EventType.RUN_RESUMED: RunStatusData,
    EventType.RUN_RECOVERED: RunRecoveredData,
    EventType.RUN_COMPLETED: RunCompletedData,
    EventType.RUN_FAILED: RunFailedData,
    EventType.RUN_CANCELED: RunCanceledData,
    EventType.CONTEXT_COMPACTED: ContextData,
    EventType.NODE_STARTED: NodeStartedData,
    EventType.NODE_COMPLETED: NodeCompletedData,
    EventType.NODE_FAILED: NodeFailedData,
    EventType.NODE_SKIPPED: NodeSkippedData,
}
"""The `data` of each event. An event that is not here cannot be documented, and the import fails."""


def _event(kind: EventType) -> type[Wire]:
    """The model of one event, as on the stream's `data:` line."""
    name = "".join(part.capitalize() for part in re.split(r"[._]", NAMES[kind])) + "Event"
    tag: Any = Literal[NAMES[kind]]
    return create_model(
        name,
        __base__=Wire,
        id=(UUID, ...),
        type=(tag, ...),
        sequence=(int, ...),
        timestamp=(Timestamp, ...),
        data=(DATA[kind], ...),
    )


_ANY_EVENT: Any = reduce(or_, (_event(kind) for kind in EventType))


class StreamEvent(RootModel[Annotated[_ANY_EVENT, Field(discriminator="type")]]):
    """One event of a run. Clients ignore types that they do not know."""


class EventListWire(Wire):
    data: Sequence[StreamEvent]
    pagination: Pagination
