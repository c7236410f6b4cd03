"""The JSON shapes of runs, and of sending a message (contract sections 4.1 and 5)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stoa.conversations import CONTENT_PARTS_MAX, ContentPart, Metadata, ModelName
from stoa.http import Body, Timestamp, Wire
from stoa.http.errors import FieldMismatch
from stoa.http.wire import not_blank, storable
from stoa.runs.types import Input, InputRequest, RequestType, Run, ToolCallRow


def _parts(content: Any) -> Any:
    """A plain string is one text part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class AnswerBody(Body):
    """How an answer is made and delivered. `model_id` is the id or the slug of a model. `tools` limits the agent to
    these of its tools; [] to none."""

    model_id: ModelName | None = None
    subagents_enabled: bool = False
    stream: bool | None = None
    background: bool = False
    tools: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=128)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.stream and self.background:
            raise FieldMismatch("stream", "cannot be true together with background: send one of them")
        return self


class RegenerateBody(AnswerBody):
    """`model_id` switches the conversation's model, as with a message. `tools` limits the agent to these of its tools;
    [] to none."""

    example: ClassVar[Mapping[str, Any]] = {"stream": False}


class SendMessageBody(AnswerBody):
    """A plain string as `content` is taken as one text part. `tools` limits the agent to these of its tools; [] to
    none.

    A busy conversation refuses (409), lets the message wait for its turn, or interrupts the run under way, as `on_busy`
    says.
    """

    example: ClassVar[Mapping[str, Any]] = {"content": "Summarize the ticket."}

    content: Annotated[
        list[ContentPart],
        Field(min_length=1, max_length=CONTENT_PARTS_MAX),
        BeforeValidator(_parts, json_schema_input_type=str | list[ContentPart]),
    ]
    on_busy: Literal["reject", "queue", "interrupt"] = "reject"
    metadata: Metadata | None = None


class FeedbackData(Body):
    request_id: UUID
    feedback: Annotated[str, Field(max_length=100_000), AfterValidator(not_blank)]


class ApprovalData(Body):
    """`params` holds what changes, of `editable_params` alone; the model reads `feedback` when the call is declined."""

    request_id: UUID
    approved: bool
    params: dict[str, Any] | None = None
    feedback: Annotated[str, Field(max_length=100_000), AfterValidator(storable)] | None = None


class FeedbackBody(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "type": "human_feedback",
        "data": {"request_id": "01890a5d-ac96-774b-bcce-b302099a8057", "feedback": "Yes, both."},
    }

    type: Literal["human_feedback"]
    data: FeedbackData


class ApprovalBody(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "type": "approval",
        "data": {"request_id": "01890a5d-ac96-774b-bcce-b302099a8057", "approved": True},
    }

    type: Literal["approval"]
    data: ApprovalData


InputBody = Annotated[FeedbackBody | ApprovalBody, Field(discriminator="type")]


class InputRequestWire(Wire):
    id: UUID
    type: Literal["human_feedback", "approval_request"]
    prompt: str
    params: dict[str, Any]
    editable_params: Sequence[str]
    options: Sequence[str] | None
    expires_at: Timestamp


class ToolCallWire(Wire):
    """A line of the tool ledger. `unknown`: the run ended, or its server failed, before the result was in; `times`
    counts its beginnings."""

    id: UUID
    name: str
    type: str
    input: dict[str, Any]
    status: Literal["begun", "completed", "failed", "unknown"]
    times: int
    result: str | None
    error: dict[str, Any] | None
    begun_at: Timestamp
    settled_at: Timestamp | None


class QueuedWire(Wire):
    """A message that waits for its turn. `position` counts from 1."""

    run_id: UUID
    position: int
    content: Sequence[dict[str, Any]]
    metadata: dict[str, Any] | None
    created_at: Timestamp


class RunErrorWire(Wire):
    code: str
    message: str
    retryable: bool


class RunWire(Wire):
    """`result` is what a workflow's Output gave. `finish_reason` says how the model's last reply ended: stop, length
    (it was cut), content_filter, tool_calls, refusal or error."""

    id: UUID
    app_id: UUID | None
    conversation_id: UUID
    message_id: UUID
    model_id: UUID | None
    status: Literal["created", "started", "paused", "completed", "failed", "canceled"]
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    input: dict[str, Any]
    output: str | None
    result: Any | None
    error: RunErrorWire | None
    usage: dict[str, Any] | None
    finish_reason: str | None
    user_id: str | None
    session_id: UUID | None
    attempt: int
    input_requests: Sequence[InputRequestWire]


def run(value: Run, requests: Sequence[InputRequest] = ()) -> RunWire:
    error = RunErrorWire(**value.error) if value.error else None
    return RunWire(
        id=value.id,
        app_id=value.app_id,
        conversation_id=value.conversation_id,
        message_id=value.message_id,
        model_id=value.model_id,
        status=value.status.value,
        created_at=value.created_at,
        started_at=value.started_at,
        ended_at=value.ended_at,
        input=dict(value.input),
        output=value.output,
        result=value.result,
        error=error,
        usage=dict(value.usage) if value.usage else None,
        finish_reason=value.usage.get("finish_reason") if value.usage else None,
        user_id=value.user_id,
        session_id=value.session_id,
        attempt=value.attempt,
        input_requests=[input_request(one) for one in requests],
    )


def input_request(value: InputRequest) -> InputRequestWire:
    return InputRequestWire(
        id=value.id,
        type=value.type.value,
        prompt=value.prompt,
        params=dict(value.params),
        editable_params=value.editable_params,
        options=value.options,
        expires_at=value.expires_at,
    )


def tool_call(value: ToolCallRow) -> ToolCallWire:
    return ToolCallWire.model_construct(
        id=value.id,
        name=value.name,
        type=value.kind,
        input=dict(value.input),
        status=value.status,
        times=value.times,
        result=value.result,
        error=value.error,
        begun_at=value.begun_at,
        settled_at=value.settled_at,
    )


def given(body: FeedbackBody | ApprovalBody) -> Input:
    if isinstance(body, FeedbackBody):
        return Input(RequestType.HUMAN_FEEDBACK, body.data.request_id, feedback=body.data.feedback)
    data = body.data
    return Input(RequestType.APPROVAL_REQUEST, data.request_id, data.approved, data.feedback, data.params)


def queued(position: int, value: Run) -> QueuedWire:
    return QueuedWire(
        run_id=value.id,
        position=position,
        content=value.input["content"],
        metadata=value.options.get("metadata"),
        created_at=value.created_at,
    )
