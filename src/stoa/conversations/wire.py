"""The JSON shapes of conversations, messages and files (contract section 4)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.conversations import rules
from stoa.conversations.agent_wire import AgentIn, small
from stoa.conversations.types import Conversation, Deletion, File, Message
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank

# --- in -------------------------------------------------------------------------------------------------------------
Title = Annotated[str, Field(max_length=rules.TITLE_CHARACTERS_MAX), AfterValidator(not_blank)]
UserId = Annotated[str, Field(max_length=255), AfterValidator(not_blank)]
Metadata = Annotated[dict[str, Any], AfterValidator(small)]
ModelName = Annotated[str, Field(max_length=300), AfterValidator(not_blank)]
"""The id or the slug of a model."""


class CreateConversation(Body):
    """Exactly one of `model_id` (the id or the slug of a model) and `app_id`."""

    example: ClassVar[Mapping[str, Any]] = {"model_id": "openai/gpt-4.1-mini", "title": "Tickets"}

    title: Title | None = None
    app_id: UUID | None = None
    model_id: ModelName | None = None
    org_id: UUID | None = None
    user_id: UserId | None = None
    metadata: Metadata | None = None
    agent: AgentIn | None = None


class UpdateConversation(Body):
    """Only what is sent changes; null removes a title, metadata or the agent. A run under way keeps the agent that it
    began with. A pinned conversation is at the top of the console's list, for everybody who sees it; a change of
    `pinned` alone leaves `updated_at` as it is."""

    example: ClassVar[Mapping[str, Any]] = {"title": "Tickets of June"}

    title: Title | None = None
    metadata: Metadata | None = None
    model_id: ModelName | None = None
    agent: AgentIn | None = None
    pinned: bool | None = None


class ForkConversation(Body):
    """`from_message_id` is the last message that is shared; without it, all are. `title` and `metadata` are the
    origin's unless sent."""

    example: ClassVar[Mapping[str, Any]] = {"from_message_id": "01890a5d-ac96-774b-bcce-b302099a8057"}

    from_message_id: UUID | None = None
    title: Title | None = None
    metadata: Metadata | None = None


class TextPart(Body):
    type: Literal["text"]
    text: Annotated[str, AfterValidator(not_blank)]


class FileIn(Body):
    id: UUID
    name: str | None = None


class FilePart(Body):
    type: Literal["file"]
    file: FileIn


ContentPart = Annotated[TextPart | FilePart, Field(discriminator="type")]


# --- out ------------------------------------------------------------------------------------------------------------
class ConversationModelWire(Wire):
    id: UUID
    name: str
    slug: str
    provider: str


class ConversationAppWire(Wire):
    id: UUID
    name: str
    description: str | None


class OriginWire(Wire):
    """Where a fork comes from, until that is deleted. `message_id` is the last shared message, where one was named."""

    conversation_id: UUID
    message_id: UUID | None


class ConversationWire(Wire):
    """`usage` is what all its model calls used, where one conversation is asked for. A fork's is its own, without its
    origin's."""

    id: UUID
    title: str | None
    app_id: UUID | None
    app: ConversationAppWire | None
    model_id: UUID | None
    model: ConversationModelWire | None
    user_id: str | None
    session_id: UUID | None
    org_id: UUID
    project_id: UUID
    metadata: dict[str, Any] | None
    agent: dict[str, Any] | None
    active_run_id: UUID | None
    message_count: int
    forked_from: OriginWire | None
    usage: dict[str, Any] | None
    pinned_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class MessageWire(Wire):
    """`superseded`: another answer to the same message counts in its place; models do not read this one.

    `finish_reason` says how the model ended an answer: stop, length (it was cut), content_filter, tool_calls, refusal
    or error.
    """

    id: UUID
    conversation_id: UUID
    role: Literal["user", "assistant"]
    content: Sequence[dict[str, Any]]
    status: Literal["completed", "failed", "canceled"]
    run_id: UUID | None
    usage: dict[str, Any] | None
    finish_reason: str | None
    metadata: dict[str, Any] | None
    superseded: Literal[True] | None
    created_at: Timestamp


class FileErrorWire(Wire):
    code: str
    message: str


class SessionWire(Wire):
    """`id` is the session's, as its client named it; several users may have named the same."""

    id: UUID
    user_id: str | None
    conversation_id: UUID
    title: str | None
    message_count: int
    created_at: Timestamp
    updated_at: Timestamp


class FileWire(Wire):
    """`status` is `pending` until the file was read; `failed` says why in `error`."""

    id: UUID
    name: str
    size: int
    mime_type: str
    conversation_id: UUID
    status: Literal["pending", "ready", "failed"]
    pages: int | None
    warnings: Sequence[str] | None
    error: FileErrorWire | None
    sha256: str
    created_at: Timestamp


class StoreWire(Wire):
    """Rows and bytes removed. `anonymized`: the rows stay, as amounts alone; what and whom they were for is removed
    from them."""

    rows: int
    bytes: int
    anonymized: Literal[True] | None


class RetainedWire(Wire):
    """What forks still show of it, as things stand now; zeros once the last of them is gone."""

    messages: int
    files: int
    conversations: Sequence[UUID]


class DeletionWire(Wire):
    """A receipt: what was removed from each store, and when a re-scan found nothing left.

    `scrubbed_at`: when `stoa scrub` had rewritten the database's files, so that no byte of it is left in them either.
    """

    id: UUID
    kind: str
    subject_id: UUID
    stores: dict[str, StoreWire]
    retained: RetainedWire | None
    created_at: Timestamp
    verified_at: Timestamp | None
    scrubbed_at: Timestamp | None


# --- shapes to values -----------------------------------------------------------------------------------------------
# --- values to shapes -----------------------------------------------------------------------------------------------
def conversation(value: Conversation) -> ConversationWire:
    model = value.model
    origin = (
        OriginWire(conversation_id=value.forked_from, message_id=value.forked_from_message_id)
        if value.forked_from
        else None
    )
    return ConversationWire(
        id=value.id,
        title=value.title,
        app_id=value.app_id,
        app=ConversationAppWire(id=value.app.id, name=value.app.name, description=value.app.description)
        if value.app
        else None,
        session_id=value.session_id,
        model_id=model.id if model else None,
        model=ConversationModelWire(id=model.id, name=model.name, slug=model.slug, provider=model.provider)
        if model
        else None,
        user_id=value.user_id,
        org_id=value.org_id,
        project_id=value.project_id,
        metadata=dict(value.metadata) if value.metadata is not None else None,
        agent=dict(value.agent) if value.agent is not None else None,
        active_run_id=value.active_run_id,
        message_count=value.message_count,
        forked_from=origin,
        usage=dict(value.usage) if value.usage else None,
        pinned_at=value.pinned_at,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def message(value: Message) -> MessageWire:
    return MessageWire.model_construct(
        id=value.id,
        conversation_id=value.conversation_id,
        role=value.role.value,
        content=value.content,
        status=value.status,
        run_id=value.run_id,
        usage=value.usage,
        finish_reason=value.usage.get("finish_reason") if value.usage else None,
        metadata=value.metadata,
        superseded=value.superseded or None,
        created_at=value.created_at,
    )


def file(value: File) -> FileWire:
    error = FileErrorWire(code=value.error["code"], message=value.error["message"]) if value.error else None
    return FileWire(
        id=value.id,
        name=value.name,
        size=value.size,
        mime_type=value.mime_type,
        conversation_id=value.conversation_id,
        status=value.status.value,
        pages=value.pages,
        warnings=value.warnings,
        error=error,
        sha256=value.sha256.hex(),
        created_at=value.created_at,
    )


def deletion(value: Deletion) -> DeletionWire:
    stores = {
        name: StoreWire(rows=counts["rows"], bytes=counts["bytes"], anonymized=counts.get("anonymized"))
        for name, counts in value.stores.items()
    }
    kept = value.retained
    return DeletionWire(
        id=value.id,
        kind=value.kind,
        subject_id=value.subject_id,
        stores=stores,
        created_at=value.created_at,
        verified_at=value.verified_at,
        scrubbed_at=value.scrubbed_at,
        retained=RetainedWire(messages=kept.messages, files=kept.files, conversations=kept.conversations)
        if kept
        else None,
    )


def session(value: Conversation) -> SessionWire:
    assert value.session_id is not None, "a session has an id"
    return SessionWire(
        id=value.session_id,
        user_id=value.user_id,
        conversation_id=value.id,
        title=value.title,
        message_count=value.message_count,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )
