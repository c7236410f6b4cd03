"""Conversations, messages and files, between rows and values. Every function takes its transaction as an argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from stoa.conversations import rules
from stoa.conversations.types import (
    AppRef,
    Conversation,
    Deletion,
    File,
    FilePassage,
    FileStatus,
    Fork,
    HistoryMessage,
    Message,
    ModelRef,
    Question,
    Reading,
    Retained,
    Role,
    Session,
)
from stoa.db import Row, Tx, load
from stoa.db.lists import next_cursor, page_ids
from stoa.kernel.errors import Conflict
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

SQL: Final = load("stoa.conversations")
_ROLES: Final = {role.value: role for role in Role}


# --- conversations --------------------------------------------------------------------------------------------------
async def conversation(tx: Tx, org_id: UUID, conversation_id: UUID) -> Conversation | None:
    row = await tx.fetchrow(SQL.conversation, org_id, conversation_id)
    return _conversation(row) if row else None


async def usage(tx: Tx, org_id: UUID, conversation_id: UUID) -> Mapping[str, Any] | None:
    """The usage of all its model calls, in the form of a run's usage; None before the first."""
    row = await tx.fetchrow(SQL.usage, org_id, conversation_id)
    assert row is not None
    if not row["calls"]:
        return None
    counts = {
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "total_tokens": row["prompt_tokens"] + row["completion_tokens"],
    }
    more = {name: row[name] for name in ("cached_tokens", "reasoning_tokens", "estimated") if row[name]}
    return counts | more | ({"cost_usd": round(row["cost_usd"], 9)} if row["cost_usd"] is not None else {})


async def list_conversations(
    tx: Tx, org_id: UUID, page: PageRequest, filters: Mapping[str, UUID | str | None], query: str | None
) -> Page[Conversation]:
    """`filters` by column; `query` is a to_tsquery expression. Raises BadRequest for an invalid cursor."""
    found = await page_ids(tx, "conversations", page, filters, rules.CURSOR_COLUMNS, query)
    rows = await tx.fetch(SQL.listed_conversations, org_id, found.ids)
    return Page(
        [_conversation(row) for row in rows],
        page.page,
        page.page_size,
        found.total,
        found.estimated,
        next_cursor(page, rules.CURSOR_COLUMNS, rows),
    )


async def pinned_conversations(
    tx: Tx, org_id: UUID, page: PageRequest, model_id: UUID | None, app_id: UUID | None, user_id: str | None
) -> Page[Conversation]:
    """Those that are pinned, the last pinned first unless the page is sorted; None filters nothing."""
    if user_id is not None and "\x00" in user_id:
        return Page((), page.page, page.page_size, 0)  # PostgreSQL's text holds no NUL, so no row matches.
    order = page.order_by("pinned_at DESC")
    found = await tx.fetch(
        SQL.pinned_conversations.format(order=order), org_id, model_id, app_id, user_id, page.page_size, page.offset
    )
    total = await tx.fetchval(SQL.count_pinned, org_id, model_id, app_id, user_id)
    return Page.counted(await listed(tx, org_id, [row["id"] for row in found]), page, total)


async def listed(tx: Tx, org_id: UUID, ids: Sequence[UUID]) -> Sequence[Conversation]:
    return [_conversation(row) for row in await tx.fetch(SQL.listed_conversations, org_id, ids)]


@dataclass(frozen=True, slots=True)
class LockedConversation:
    """A conversation whose row is locked until the transaction ends: every other writer waits. `position` is the one
    that was taken for a message, or that of the newest message."""

    position: int
    project_id: UUID
    model_id: UUID | None
    app_id: UUID | None
    user_id: str | None
    agent: Mapping[str, Any] | None


async def take_position(
    tx: Tx, org_id: UUID, conversation_id: UUID, *, model_id: UUID | None = None
) -> LockedConversation | None:
    """The next position; a `model_id` becomes the conversation's model. None where there is no such conversation."""
    row = await tx.fetchrow(SQL.take_position, org_id, conversation_id, model_id)
    return (
        LockedConversation(
            row["message_count"], row["project_id"], row["model_id"], row["app_id"], row["user_id"], row["agent"]
        )
        if row
        else None
    )


async def lock_conversation(tx: Tx, org_id: UUID, conversation_id: UUID) -> LockedConversation | None:
    """Locks the conversation (`SELECT FOR UPDATE`); `position` is that of the newest message. None where there is no
    such conversation."""
    row = await tx.fetchrow(SQL.lock_conversation, org_id, conversation_id)
    return (
        LockedConversation(
            row["message_count"], row["project_id"], row["model_id"], row["app_id"], row["user_id"], row["agent"]
        )
        if row
        else None
    )


async def open_session(tx: Tx, principal: Principal, session: Session, new_id: UUID) -> UUID:
    """The conversation of an app's session, made where there is none; without a session a new one."""
    opened = await tx.fetchval(
        SQL.open_session,
        principal.org_id,
        session.project_id,
        new_id,
        session.app_id,
        session.user_id,
        session.session_id,
        principal.key_id,
    )
    found: UUID | None = opened or await tx.fetchval(
        SQL.session, principal.org_id, session.app_id, session.session_id, session.user_id
    )
    assert found is not None, "a session that is there has a conversation"
    return found


# --- messages -------------------------------------------------------------------------------------------------------
async def insert_message(
    tx: Tx,
    org_id: UUID,
    project_id: UUID,
    conversation_id: UUID,
    position: int,
    message_id: UUID,
    role: Role,
    *,
    content: Sequence[Mapping[str, Any]],
    text: str,
    status: str,
    run_id: UUID | None,
    usage: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    turns: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    await tx.execute(
        SQL.insert_message,
        org_id,
        project_id,
        conversation_id,
        position,
        message_id,
        role.value,
        content,
        text,
        status,
        run_id,
        usage,
        metadata,
        turns,
    )


async def list_messages(tx: Tx, org_id: UUID, conversation_id: UUID, page: PageRequest) -> Sequence[Message]:
    first, last = page.offset + 1, page.offset + page.page_size
    rows = await tx.fetch(SQL.messages, org_id, conversation_id, first, last)
    # Whether an answer is superseded can depend on a few messages beyond the page.
    outline = await tx.fetch(SQL.outline, org_id, conversation_id, first - rules.ANSWERS_MAX, last + rules.ANSWERS_MAX)
    gone = rules.superseded((row["position"], Role(row["role"]), row["status"]) for row in outline)
    return [_message(row, superseded=row["position"] in gone) for row in rows]


async def history(tx: Tx, org_id: UUID, conversation_id: UUID, until: int, limit: int) -> Sequence[HistoryMessage]:
    """The newest `limit` messages up to position `until`, oldest first, without answers that others have superseded."""
    rows = await tx.fetch(SQL.history, org_id, conversation_id, until - limit + 1, until)
    found = [
        HistoryMessage(row["position"], _ROLES[row["role"]], row["content"], row["status"], row["turns"])
        for row in rows
    ]
    gone = rules.superseded((message.position, message.role, message.status) for message in found)
    return [message for message in found if message.position not in gone]


async def take_question(
    tx: Tx, org_id: UUID, conversation_id: UUID, place: LockedConversation, *, model_id: UUID | None
) -> Question:
    """The last message of a user, to be answered once more; a `model_id` becomes the conversation's model. Raises
    Conflict.

    The caller has locked the conversation.
    """
    row = await tx.fetchrow(SQL.last_question, org_id, conversation_id, place.position - rules.ANSWERS_MAX)
    if row is None:
        why = (
            f"its last message has {rules.ANSWERS_MAX} answers already; send another"
            if place.position
            else "it holds no message yet; send one"
        )
        raise Conflict(f"Nothing can be answered anew in this conversation: {why}.")
    if model_id is not None:
        await tx.execute(SQL.switch_model, org_id, conversation_id, model_id)
    return Question(row["id"], row["position"], row["content"])


# --- files ----------------------------------------------------------------------------------------------------------
async def file(tx: Tx, org_id: UUID, file_id: UUID) -> File | None:
    row = await tx.fetchrow(SQL.file, org_id, file_id)
    return _file(row) if row else None


async def insert_file(tx: Tx, principal: Principal, file: File) -> File:
    row = await tx.fetchrow(
        SQL.insert_file,
        file.org_id,
        file.project_id,
        file.id,
        file.conversation_id,
        file.name,
        file.size,
        file.mime_type,
        file.sha256,
        principal.key_id,
    )
    assert row is not None
    return _file(row)


async def list_files(tx: Tx, org_id: UUID, conversation_id: UUID, page: PageRequest) -> tuple[Sequence[File], int]:
    rows = await tx.fetch(
        SQL.list_files.format(order=page.order_by("created_at")), org_id, conversation_id, page.page_size, page.offset
    )
    return [_file(row) for row in rows], await tx.fetchval(SQL.count_files, org_id, conversation_id)


async def files_of(tx: Tx, org_id: UUID, conversation_id: UUID, file_ids: Sequence[UUID]) -> Mapping[UUID, File]:
    return {row["id"]: _file(row) for row in await tx.fetch(SQL.files_of, org_id, conversation_id, file_ids)}


async def unread_files(tx: Tx) -> Sequence[File]:
    """Of all tenants."""
    return [_file(row) for row in await tx.fetch(SQL.unread_files)]


async def settle_file(tx: Tx, file: File, reading: Reading) -> bool:
    """False if another outcome was stored first, or the file was deleted."""
    status = FileStatus.FAILED if reading.error else FileStatus.READY
    project_id = await tx.fetchval(
        SQL.settle_file,
        file.org_id,
        file.id,
        status.value,
        reading.pages,
        list(reading.warnings) or None,
        reading.error,
    )
    if project_id is None:
        return False
    passages = reading.passages
    await tx.execute(
        SQL.insert_passages,
        file.org_id,
        project_id,
        file.id,
        list(range(len(passages))),
        [passage.page for passage in passages],
        [passage.heading for passage in passages],
        [passage.text for passage in passages],
    )
    return True


async def passages(tx: Tx, org_id: UUID, file_id: UUID) -> Sequence[FilePassage]:
    return [
        FilePassage(row["text"], row["page"], row["heading"]) for row in await tx.fetch(SQL.passages, org_id, file_id)
    ]


# --- forks ----------------------------------------------------------------------------------------------------------
async def fork(tx: Tx, principal: Principal, origin: Conversation, fork_id: UUID, until: int, asked: Fork) -> None:
    """A new conversation that shows its origin's messages up to position `until`, by reference. The caller has locked
    the family of forks."""
    org_id = principal.org_id
    await tx.execute(
        SQL.fork_conversation,
        org_id,
        origin.id,
        fork_id,
        asked.title,
        asked.metadata,
        principal.key_id,
        until,
        asked.from_message_id,
    )
    await tx.execute(SQL.fork_segments, org_id, origin.id, fork_id, until)
    await tx.execute(SQL.fork_files, org_id, origin.id, fork_id, until)


async def hand_over(tx: Tx, org_id: UUID, conversation_id: UUID) -> tuple[Sequence[UUID], Sequence[UUID]]:
    """Moves the messages and files that forks still show to one of the forks; returns their ids. The caller has locked
    the family of forks."""
    heir = await tx.fetchrow(SQL.heir, org_id, conversation_id)
    if heir is None:
        return (), ()
    messages = await tx.fetch(SQL.hand_over_messages, org_id, conversation_id, heir["id"], heir["last_position"])
    files = await tx.fetch(SQL.hand_over_files, org_id, conversation_id, heir["id"])
    await tx.execute(SQL.hand_over_segments, org_id, conversation_id, heir["id"])
    return [row["id"] for row in messages], [row["id"] for row in files]


# --- deletions ------------------------------------------------------------------------------------------------------
async def deletion(tx: Tx, org_id: UUID, deletion_id: UUID) -> Deletion | None:
    row = await tx.fetchrow(SQL.deletion, org_id, deletion_id)
    if row is None:
        return None
    retained = None
    if row["retained_message_ids"] or row["retained_file_ids"]:
        kept = await tx.fetchrow(SQL.retained, org_id, deletion_id)
        assert kept is not None
        retained = Retained(kept["messages"], kept["files"], kept["conversations"])
    return Deletion(
        row["id"],
        row["kind"],
        row["subject_id"],
        row["stores"],
        row["created_at"],
        row["verified_at"],
        row["scrubbed_at"],
        retained,
    )


# --- rows to values -------------------------------------------------------------------------------------------------
def _conversation(row: Row) -> Conversation:
    model = (
        ModelRef(row["model_id"], row["model_name"], row["model_slug"], row["model_provider"])
        if row["model_id"]
        else None
    )
    return Conversation(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["title"],
        row["app_id"],
        model,
        row["user_id"],
        row["metadata"],
        row["agent"],
        row["message_count"],
        row["active_run_id"],
        row["created_at"],
        row["updated_at"],
        row["forked_from"],
        row["forked_from_message_id"],
        app=AppRef(row["app_id"], row["app_name"], row["app_description"]) if row["app_name"] is not None else None,
        session_id=row["session_id"],
        pinned_at=row["pinned_at"],
    )


def _message(row: Row, *, superseded: bool = False) -> Message:
    return Message(
        row["id"],
        row["shown_in"],
        row["position"],
        Role(row["role"]),
        row["content"],
        row["status"],
        row["run_id"],
        row["usage"],
        row["metadata"],
        row["created_at"],
        row["turns"],
        superseded,
    )


def _file(row: Row) -> File:
    return File(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["conversation_id"],
        row["name"],
        row["size"],
        row["mime_type"],
        row["sha256"],
        FileStatus(row["status"]),
        row["pages"],
        row["warnings"],
        row["error"],
        row["created_at"],
    )
