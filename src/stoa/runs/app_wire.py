"""The JSON shapes of an app's runs on its own host (contract section 5)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, ConfigDict, Field, RootModel, model_validator

from stoa.conversations import Session
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank
from stoa.runs.types import AppStart, InputRequest, Run, SendMessage
from stoa.runs.wire import InputRequestWire, RunErrorWire, input_request


class StartRun(Body):
    """`input` holds the fields of the app's input. Runs that share `user_id` and `session_id` see the session's earlier
    exchanges."""

    example: ClassVar[Mapping[str, Any]] = {"input": {"input": "Summarize the ticket."}}

    input: dict[str, Any]
    user_id: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    session_id: UUID | None = None
    file_ids: Annotated[list[UUID], Field(max_length=64)] | None = None
    stream: bool = False
    background: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.stream and self.background:
            raise ValueError("cannot be true together with background: send one of them")
        return self


class InvokeApp(Body):
    """The app's root: `async` answers at once. `last_node_output` and `error_on_node_failure` have
    no effect."""

    example: ClassVar[Mapping[str, Any]] = {"input": {"input": "Summarize the ticket."}}

    input: dict[str, Any]
    user_id: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    session_id: UUID | None = None
    execution_mode: Literal["sync", "async"] | None = None
    stream: bool = False
    callbacks: list[Any] | None = None
    last_node_output: bool | None = None
    error_on_node_failure: bool | None = None

    @model_validator(mode="after")
    def _served(self) -> Self:
        if self.stream:
            raise ValueError("stream is not served here by this version; POST /v1/runs with stream does that")
        if self.callbacks and self.execution_mode != "async":
            raise ValueError("callbacks go with execution_mode async only")
        if self.callbacks:
            raise ValueError("callbacks are not delivered by this version; read the run at /v1/runs/{id}")
        return self


class InvokedWire(Wire):
    """`output` as in a run; a run that failed, or waits for a person, says so in `status` and `error`."""

    id: UUID
    status: Literal["accepted", "paused", "completed", "failed", "canceled"]
    output: dict[str, Any] | None
    error: RunErrorWire | None


class Fields(RootModel[dict[str, Any]]):
    """The fields of an app's input."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": "Summarize the ticket."}]})


class AppFileWire(Wire):
    id: UUID
    name: str
    size: int
    mime_type: str


class AppRunWire(Wire):
    """`output` is what the app answered; of an agent `{"content": …}`."""

    id: UUID
    app_id: UUID
    status: Literal["created", "started", "paused", "completed", "failed", "canceled"]
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    input: dict[str, Any]
    output: dict[str, Any] | None
    user_id: str | None
    session_id: UUID | None
    conversation_id: UUID
    input_requests: Sequence[InputRequestWire]
    error: RunErrorWire | None
    usage: dict[str, Any] | None
    attempt: int


def content_of(fields: Mapping[str, Any], file_ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
    """The message that an input is: its field `input` where that is text, the only text, or all of it as JSON."""
    texts = [value for value in fields.values() if isinstance(value, str) and value.strip()]
    said = fields.get("input")
    if not (isinstance(said, str) and said.strip()):
        said = texts[0] if len(fields) == len(texts) == 1 else orjson.dumps(fields).decode()
    files = [{"type": "file", "file": {"id": str(one)}} for one in file_ids]
    return [{"type": "text", "text": said}, *files]


def app_message(session: Session, fields: Mapping[str, Any], metadata: Mapping[str, Any]) -> SendMessage:
    """The message that begins a run of an app which nobody's request began."""
    return SendMessage(
        content_of(fields, ()),
        None,
        subagents_enabled=True,
        metadata=metadata,
        app=AppStart(session, fields),
    )


def app_run(value: Run, requests: Sequence[InputRequest] = ()) -> AppRunWire:
    assert value.app_id is not None, "a run of an app's host is of an app"
    fields = value.options.get("fields")
    return AppRunWire(
        id=value.id,
        app_id=value.app_id,
        status=value.status.value,
        created_at=value.created_at,
        started_at=value.started_at,
        ended_at=value.ended_at,
        input=dict(fields) if fields is not None else dict(value.input),
        output={"content": value.output} if value.output else None,
        user_id=value.user_id,
        session_id=value.session_id,
        conversation_id=value.conversation_id,
        input_requests=[input_request(one) for one in requests],
        error=RunErrorWire(**value.error) if value.error else None,
        usage=dict(value.usage) if value.usage else None,
        attempt=value.attempt,
    )


def invoked(value: Run) -> InvokedWire:
    run = app_run(value)
    assert run.status not in ("created", "started"), "it is waited for"
    return InvokedWire(id=run.id, status=run.status, output=run.output, error=run.error)


def accepted(value: Run) -> InvokedWire:
    return InvokedWire(id=value.id, status="accepted", output=None, error=None)
