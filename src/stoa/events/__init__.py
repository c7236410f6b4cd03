"""The closed vocabulary of run events, and their bytes."""

from stoa.events.encoding import delta_of, encode, frame, from_helper
from stoa.events.types import DELTAS, NAMES, TERMINAL, Event, EventType, TextDelta

__all__ = [
    "DELTAS",
    "NAMES",
    "TERMINAL",
    "Event",
    "EventType",
    "TextDelta",
    "delta_of",
    "encode",
    "frame",
    "from_helper",
]
