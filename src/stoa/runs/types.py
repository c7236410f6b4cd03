"""A run: the work for one answer, from `created` to its one terminal event."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from stoa.callbacks import NewCallback
from stoa.conversations import Session
from stoa.gateway import Usage
from stoa.journal import JournalKey
from stoa.kernel.errors import Conflict
from stoa.kernel.principal import Principal

SIGNED_IN: Final = "signed_in"
"""The option of a run that a signed-in user of the console started."""


class RunStatus(StrEnum):
    CREATED = "created"
    STARTED = "started"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Run:
    id: UUID
    org_id: UUID
    project_id: UUID
    conversation_id: UUID
    message_id: UUID
    message_position: int
    model_id: UUID | None
    """None for a graph, whose nodes each have one."""
    app_id: UUID | None
    user_id: str | None
    status: RunStatus
    options: Mapping[str, Any]
    input: Mapping[str, Any]
    output: str | None
    error: Mapping[str, Any] | None
    usage: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any] | None
    checkpoint_sequence: int
    attempt: int
    node_id: UUID | None
    cancel_reason: str | None
    created_by: UUID | None
    """The key that sent the message."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    queued_at: datetime | None
    """Since when it is queued; None if it is not."""
    session_id: UUID | None = None
    """Of an app's user."""
    result: Any = None
    """The result of a graph's Output node."""
    owner_id: UUID | None = None
    """The user who began it, with a token or signed in; None for a key."""

    @property
    def key(self) -> JournalKey:
        return JournalKey(self.org_id, self.id)

    @property
    def end_user(self) -> str | None:
        """The end user of the run; None if the name is not verified, because a public app was called without a key."""
        return self.user_id if self.created_by is None or self.created_by != self.app_id else None


@dataclass(frozen=True, slots=True)
class Publication:
    """A version of an artifact that a run has published. `path` downloads it without a header until `ends`."""

    artifact_id: UUID
    version_id: UUID
    version: int
    name: str
    kind: str
    mime_type: str
    size: int
    path: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows. `statuses` None: all. `awaiting_input` adds started and paused ones with an open
    question.
    """

    statuses: Collection[RunStatus] | None = None
    awaiting_input: bool = False
    conversation_id: UUID | None = None
    user_id: str | None = None
    app_id: UUID | None = None
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DialectFilter:
    """A filter for runs that clients of a dialect started with one agent. None is any; `after` is the creation time and
    the id of the last run of the previous page, `since` the time of a run's last change."""

    dialect: str
    agent: str
    statuses: Collection[RunStatus] | None = None
    conversation_id: UUID | None = None
    since: datetime | None = None
    after: tuple[datetime, UUID] | None = None


@dataclass(frozen=True, slots=True)
class SendMessage:
    """The request of `POST /v3/conversations/{id}/messages`."""

    content: Sequence[Mapping[str, Any]]
    model_id: UUID | str | None
    """An id or a slug."""
    subagents_enabled: bool
    metadata: Mapping[str, Any] | None
    tools: Sequence[str] | None = None
    """Only these of the agent's tools; None is all of them."""
    on_busy: Literal["reject", "queue", "interrupt"] = "reject"
    regenerate: bool = False
    """Regenerates the answer to the last message; `content` is empty then."""
    app: "AppStart | None" = None
    """For a run of an app on its own host, with its conversation."""
    graph: "GraphStart | None" = None
    """For a run of a flow that is not released."""
    wanted: Mapping[str, Any] | None = None
    """Changes of this message to the conversation's agent (`Agent.wanted`), and fields of the request that its dialect
    needs later."""
    items: Sequence[Mapping[str, Any]] | None = None
    """The message as items, where it is more than one text of the user: results of the client's tools, earlier turns.
    """
    follows: int | None = None
    """The position of the message that this one must follow directly; otherwise `Moved` is raised."""


@dataclass(frozen=True, slots=True)
class AppStart:
    """The fields of an app's input, and the session that the run belongs to."""

    session: Session
    fields: Mapping[str, Any]
    callbacks: Sequence[NewCallback] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """An app's runs of one interval that begins at `at`; times from the request to the end."""

    at: datetime
    runs: int
    completed: int
    failed: int
    canceled: int
    tokens: int
    cost_usd: float | None
    milliseconds_average: float | None
    milliseconds_p95: float | None


@dataclass(frozen=True, slots=True)
class GraphStart:
    """The fields of a flow's input; for a graph also the flow itself, with the models of its nodes by key."""

    fields: Mapping[str, Any]
    workflow: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A test run of a flow: its principal and its conversation."""

    principal: Principal
    conversation_id: UUID
    graph: GraphStart


class Moved(Conflict):
    """The conversation has newer messages than the one that the new message was to follow."""


class RequestType(StrEnum):
    HUMAN_FEEDBACK = "human_feedback"
    APPROVAL_REQUEST = "approval_request"


@dataclass(frozen=True, slots=True)
class InputRequest:
    """An open question to a person."""

    id: UUID
    run_id: UUID
    type: RequestType
    prompt: str
    params: Mapping[str, Any]
    editable_params: Sequence[str]
    options: Sequence[str] | None
    expires_at: datetime
    schema: Mapping[str, Any] | None = None
    """What `params` must satisfy, also after a person has changed some of them."""


@dataclass(frozen=True, slots=True)
class Input:
    """A person's answer."""

    type: RequestType
    request_id: UUID
    approved: bool = False
    feedback: str | None = None
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCallRow:
    """A line of the tool ledger, as the API shows it."""

    id: UUID
    name: str
    kind: str
    input: Mapping[str, Any]
    status: str
    times: int
    result: str | None
    error: Mapping[str, Any] | None
    begun_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunError:
    code: str
    message: str
    retryable: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "retryable": self.retryable}


@dataclass(frozen=True, slots=True)
class ModelUse:
    """One call of a model, for the bill. `model` None is the run's; `cost_usd` is None where no price is known."""

    model: str | None
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """The remains of an attempt that lost its node: the text since its last step, and the interrupted model call."""

    said: str
    use: ModelUse | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: status, text and cost."""

    status: RunStatus
    output: str
    usage: Mapping[str, Any]
    error: RunError | None = None
    reason: str | None = None
    turns: Sequence[Mapping[str, Any]] | None = None
    """Its tool calls, for later runs of the conversation."""
    uses: Sequence[ModelUse] = ()
    """Model calls that no step has billed."""
    result: Any = None
    """The result of a graph's Output node; `output` is its text."""

    @property
    def finish_reason(self) -> str | None:
        """How the model's last reply ended; stored in `usage` of the run and its message."""
        return self.usage.get("finish_reason")
