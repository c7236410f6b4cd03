"""The spine: a durable, ordered event log per run. Front door."""

from stoa.journal.promises import checks
from stoa.journal.service import READ_EVENTS_MAX, Journal, Removed
from stoa.journal.tails import Frames, Subscription, Tails, frames_of
from stoa.journal.types import TERMINAL_KINDS, Fenced, Head, JournalKey, Record
from stoa.journal.writer import Batch, JournalWriter, Pen

__all__ = [
    "READ_EVENTS_MAX", "TERMINAL_KINDS", "Batch", "Fenced", "Frames", "Head", "Journal", "JournalKey", "JournalWriter", "Pen", "Record", "Removed",
    "Subscription", "Tails", "checks", "frames_of",
]
