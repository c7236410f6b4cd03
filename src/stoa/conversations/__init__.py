"""Conversations, their messages and files. The public interface."""

from stoa.conversations.agent_wire import AgentIn, agent_of
from stoa.conversations.agents import check_agent
from stoa.conversations.api import routes
from stoa.conversations.checks import checks
from stoa.conversations.deletions import Deletions, RemovedRuns
from stoa.conversations.items import ItemMessages, keep_items
from stoa.conversations.links import FileLinks
from stoa.conversations.ports import Agents
from stoa.conversations.reading import Reader
from stoa.conversations.rules import CONTENT_PARTS_MAX, text_of
from stoa.conversations.service import Conversations, resolve_content
from stoa.conversations.store import (
    LockedConversation,
    insert_message,
    lock_conversation,
    open_session,
    take_position,
    take_question,
)
from stoa.conversations.transcript import ReadFile, Transcript
from stoa.conversations.types import (
    Changes,
    Conversation,
    File,
    FilePassage,
    FileStatus,
    Fork,
    HistoryMessage,
    Message,
    Reading,
    Role,
    Session,
)
from stoa.conversations.wire import ContentPart, Metadata, ModelName
from stoa.conversations.worker import Housekeeping, polls
from stoa.db.blobs import blob_name

__all__ = [
    "CONTENT_PARTS_MAX",
    "AgentIn",
    "Agents",
    "Changes",
    "ContentPart",
    "Conversation",
    "Conversations",
    "Deletions",
    "File",
    "FileLinks",
    "FilePassage",
    "FileStatus",
    "Fork",
    "HistoryMessage",
    "Housekeeping",
    "ItemMessages",
    "LockedConversation",
    "Message",
    "Metadata",
    "ModelName",
    "ReadFile",
    "Reader",
    "Reading",
    "RemovedRuns",
    "Role",
    "Session",
    "Transcript",
    "agent_of",
    "blob_name",
    "check_agent",
    "checks",
    "insert_message",
    "keep_items",
    "lock_conversation",
    "open_session",
    "polls",
    "resolve_content",
    "routes",
    "take_position",
    "take_question",
    "text_of",
]
