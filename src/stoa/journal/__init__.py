"""A durable, ordered event log per run. The public interface."""

from stoa.journal.checks import checks
from stoa.journal.live_buffer import Frames, LiveBuffer, Subscription, frames_of
from stoa.journal.run_writer import Batch, RunWriter
from stoa.journal.service import READ_EVENTS_MAX, Journal, Removed
from stoa.journal.types import TERMINAL_TYPES, Fenced, Head, JournalKey, Record
from stoa.journal.writer import JournalWriter

__all__ = [
    "READ_EVENTS_MAX",
    "TERMINAL_TYPES",
    "Batch",
    "Fenced",
    "Frames",
    "Head",
    "Journal",
    "JournalKey",
    "JournalWriter",
    "LiveBuffer",
    "Record",
    "Removed",
    "RunWriter",
    "Subscription",
    "checks",
    "frames_of",
]
