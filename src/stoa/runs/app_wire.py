"""The JSON shapes of an app's runs on its own host (contract section 5)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, ConfigDict, Field, RootModel, model_validator

from stoa.callbacks import CALLBACKS_MAX, CallbackBody, Report
from stoa.conversations import File, Session
from stoa.http import Body, Timestamp, Wire
from stoa.http.errors import FieldMismatch
from stoa.http.wire import not_blank
from stoa.kernel.errors import BadRequest
from stoa.runs.rules import ACTIVE, FIGURE_RUNS_MAX
from stoa.runs.types import AppStart, Figure, InputRequest, Publication, Run, SendMessage
from stoa.runs.wire import InputRequestWire, RunErrorWire, input_request

_NO_FILE: Final = "is not a file of this app; POST it to /v1/files of the app's host first"


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
            raise FieldMismatch("stream", "cannot be true together with background: send one of them")
        return self


class InvokeApp(Body):
    """The app's root. `stream` answers with the platform's messages; `execution_mode` `async` answers at once, and
    `callbacks` are POSTed to when the run has ended. `last_node_output` and `error_on_node_failure` have no effect."""

    example: ClassVar[Mapping[str, Any]] = {"input": {"input": "Summarize the ticket."}}

    input: dict[str, Any]
    user_id: Annotated[str, Field(max_length=255), AfterValidator(not_blank)] | None = None
    session_id: UUID | None = None
    execution_mode: Literal["sync", "async"] | None = None
    stream: bool = False
    callbacks: Annotated[list[CallbackBody], Field(max_length=CALLBACKS_MAX)] | None = None
    last_node_output: bool | None = None
    error_on_node_failure: bool | None = None

    def check(self) -> None:
        """Raises BadRequest naming the field that does not go with another."""
        if self.callbacks and self.execution_mode != "async":
            raise BadRequest.field("callbacks", "go with execution_mode async only")
        if self.stream and self.execution_mode == "async":
            raise BadRequest.field("stream", "cannot be true together with execution_mode async: send one of them")

    def start(self) -> StartRun:
        """The same as a request for a run."""
        return StartRun(input=self.input, user_id=self.user_id, session_id=self.session_id, stream=self.stream)


class TestFlow(Body):
    """A flow and its input. The answer is that of the flow's Output, so `last_node_output` has no effect; neither has
    `dry_run`: nothing that a run does is taken back."""

    __test__ = False  # It is no test, whatever its name.
    example: ClassVar[Mapping[str, Any]] = {"flow": {"agent": {}}, "input": {"input": "Hi"}}

    project_id: UUID | None = None
    flow: dict[str, Any]
    input: dict[str, Any]
    stream: bool = False
    dry_run: bool | None = None
    last_node_output: bool | None = None


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


class FigureWire(Wire):
    """The runs of one interval, by their start; times from the request to the end."""

    time: Timestamp
    runs: int
    completed: int
    failed: int
    canceled: int
    total_tokens: int
    cost_usd: float | None
    duration_ms_avg: float | None
    duration_ms_p95: float | None


class AppMetricsWire(Wire):
    """Intervals without runs are left out. `truncated`: there were more runs than are read; the newest are counted."""

    start_time: Timestamp
    end_time: Timestamp
    interval_seconds: int
    series: Sequence[FigureWire]
    truncated: Literal[True] | None


class RunArtifactWire(Wire):
    """`kind` is `input` for a file that the run was given, else that of the artifact whose version it published. `url`
    downloads it without a header for a while."""

    id: UUID
    name: str
    size: int
    mime_type: str
    kind: str
    version: int | None
    version_id: UUID | None
    url: str
    url_expires_at: Timestamp


def content_of(fields: Mapping[str, Any], file_ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
    """The message that an input is: its field `input` where that is text, the only text, or all of it as JSON."""
    texts = [value for value in fields.values() if isinstance(value, str) and value.strip()]
    said = fields.get("input")
    if not (isinstance(said, str) and said.strip()):
        said = texts[0] if len(fields) == len(texts) == 1 else orjson.dumps(fields).decode()
    files = [{"type": "file", "file": {"id": str(one)}} for one in file_ids]
    return [{"type": "text", "text": said}, *files]


def in_file_ids(refusal: BadRequest) -> BadRequest:
    """A refusal of the message's content, in the words of who has sent `file_ids`."""
    named = {
        re.sub(r"^content\[(\d+)\]\.file\.id$", lambda found: f"file_ids[{int(found[1]) - 1}]", name): reason
        for name, reason in (refusal.details or {}).items()
    }
    if named == (refusal.details or {}):
        return refusal
    said = {name: _NO_FILE if name.startswith("file_ids[") else reason for name, reason in named.items()}
    return BadRequest("; ".join(f"{name} {reason}" for name, reason in said.items()), details=said)


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
        output=_output_of(value),
        user_id=value.user_id,
        session_id=value.session_id,
        conversation_id=value.conversation_id,
        input_requests=[input_request(one) for one in requests],
        error=RunErrorWire(**value.error) if value.error else None,
        usage=dict(value.usage) if value.usage else None,
        attempt=value.attempt,
    )


def _output_of(value: Run) -> dict[str, Any] | None:
    """Of a graph what its Output gave; of an agent its answer as `content`."""
    if isinstance(value.result, dict):
        return value.result
    return {"content": value.output} if value.output else None


def invoked(value: Run) -> InvokedWire:
    run = app_run(value)
    assert run.status not in ("created", "started"), "it is waited for"
    return InvokedWire(id=run.id, status=run.status, output=run.output, error=run.error)


def report(value: Run) -> Report | None:
    """What a callback says of the run; None while it goes on."""
    if value.status in ACTIVE or value.ended_at is None:
        return None
    data = app_run(value).model_dump(mode="json", exclude_none=True)
    return Report(f"run.{value.status.value}", value.ended_at, data)


def metrics(found: Sequence[Figure], begins: datetime, ends: datetime, seconds: int) -> AppMetricsWire:
    return AppMetricsWire(
        start_time=begins,
        end_time=ends,
        interval_seconds=seconds,
        series=[
            FigureWire(
                time=one.at,
                runs=one.runs,
                completed=one.completed,
                failed=one.failed,
                canceled=one.canceled,
                total_tokens=one.tokens,
                cost_usd=one.cost_usd,
                duration_ms_avg=_rounded(one.milliseconds_average),
                duration_ms_p95=_rounded(one.milliseconds_p95),
            )
            for one in found
        ],
        truncated=True if sum(one.runs for one in found) >= FIGURE_RUNS_MAX else None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def input_file(file: File, url: str, ends: datetime) -> RunArtifactWire:
    return RunArtifactWire(
        id=file.id,
        name=file.name,
        size=file.size,
        mime_type=file.mime_type,
        kind="input",
        version=None,
        version_id=None,
        url=url,
        url_expires_at=ends,
    )


def publication(value: Publication, root: str) -> RunArtifactWire:
    return RunArtifactWire(
        id=value.artifact_id,
        name=value.name,
        size=value.size,
        mime_type=value.mime_type,
        kind=value.kind,
        version=value.version,
        version_id=value.version_id,
        url=f"{root}{value.path}",
        url_expires_at=value.ends,
    )


def accepted(value: Run) -> InvokedWire:
    return InvokedWire(id=value.id, status="accepted", output=None, error=None)
