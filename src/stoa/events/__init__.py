"""The closed vocabulary of run events, and their encoding."""

from stoa.events.encoding import decode, delta_of, encode, frame, from_subagent
from stoa.events.types import DELTAS, NAMES, TABLE, TERMINAL, Event, EventType, StoredEvent, TextDelta, Unencodable

__all__ = [
    "DELTAS",
    "NAMES",
    "TABLE",
    "TERMINAL",
    "Event",
    "EventType",
    "StoredEvent",
    "TextDelta",
    "Unencodable",
    "decode",
    "delta_of",
    "encode",
    "frame",
    "from_subagent",
]
