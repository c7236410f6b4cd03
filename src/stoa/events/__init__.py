"""The closed vocabulary of run events, and their bytes."""

from stoa.events.encoding import delta_of, encode, frame, from_subagent
from stoa.events.types import DELTAS, NAMES, TABLE, TERMINAL, Event, EventType, TextDelta, Unencodable

__all__ = [
    "DELTAS",
    "NAMES",
    "TABLE",
    "TERMINAL",
    "Event",
    "EventType",
    "TextDelta",
    "Unencodable",
    "delta_of",
    "encode",
    "frame",
    "from_subagent",
]
