"""Conversations, their messages and files. Front door."""

from stoa.conversations.api import routes
from stoa.conversations.checks import checks
from stoa.conversations.deletions import Deletions, RemovedRuns
from stoa.conversations.reading import Reader
from stoa.conversations.rules import CONTENT_PARTS_MAX, text_of
from stoa.conversations.service import Conversations, resolve_content
from stoa.conversations.store import Place, hold, insert_message, take_position, take_question
from stoa.conversations.transcript import ReadFile, Transcript
from stoa.conversations.types import File, FilePassage, FileStatus, Message, Reading, Role, Said
from stoa.conversations.wire import ContentPart, Metadata
from stoa.conversations.worker import Housekeeping, polls
from stoa.db.blobs import blob_name

__all__ = [
    "CONTENT_PARTS_MAX",
    "ContentPart",
    "Conversations",
    "Deletions",
    "File",
    "FilePassage",
    "FileStatus",
    "Housekeeping",
    "Message",
    "Metadata",
    "Place",
    "ReadFile",
    "Reader",
    "Reading",
    "RemovedRuns",
    "Role",
    "Said",
    "Transcript",
    "blob_name",
    "checks",
    "hold",
    "insert_message",
    "polls",
    "resolve_content",
    "routes",
    "take_position",
    "take_question",
    "text_of",
]
