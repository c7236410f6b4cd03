"""The JSON shapes of runs, and of sending a message (contract sections 4.1 and 5)."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from stoa.conversations import CONTENT_PARTS_MAX, ContentPart, Metadata
from stoa.http import Timestamp, Wire
from stoa.runs.types import Run


def _parts(content: Any) -> Any:
    """A plain string is one text part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class SendMessageBody(Wire):
    """A plain string as `content` is taken as one text part."""

    content: Annotated[
        list[ContentPart],
        Field(min_length=1, max_length=CONTENT_PARTS_MAX),
        BeforeValidator(_parts, json_schema_input_type=str | list[ContentPart]),
    ]
    model_id: UUID | None = None
    subagents_enabled: bool = False
    on_busy: Literal["reject"] = "reject"
    stream: bool | None = None
    background: bool = False
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "SendMessageBody":
        if self.stream and self.background:
            raise ValueError("cannot be true together with background: send one of them")
        return self


class RunErrorWire(Wire):
    code: str
    message: str
    retryable: bool


class RunWire(Wire):
    id: UUID
    app_id: UUID | None
    conversation_id: UUID
    message_id: UUID
    model_id: UUID
    status: Literal["created", "started", "paused", "completed", "failed", "canceled"]
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    input: dict[str, Any]
    output: str | None
    error: RunErrorWire | None
    usage: dict[str, Any] | None
    user_id: str | None
    attempt: int
    input_requests: Sequence[dict[str, Any]]


def run(value: Run) -> RunWire:
    error = RunErrorWire(**value.error) if value.error else None
    return RunWire(
        id=value.id, app_id=value.app_id, conversation_id=value.conversation_id, message_id=value.message_id, model_id=value.model_id,
        status=value.status.value, created_at=value.created_at, started_at=value.started_at, ended_at=value.ended_at, input=dict(value.input),
        output=value.output, error=error, usage=dict(value.usage) if value.usage else None, user_id=value.user_id, attempt=value.attempt,
        input_requests=(),
    )  # fmt: skip
