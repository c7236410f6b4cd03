"""An event's bytes: one JSON object, exactly as stored and as sent on the `data:` line."""

from typing import Final

import orjson

from stoa.events.types import NAMES, Event, EventType, StoredEvent, TextDelta

_NAME_BYTES: Final = {event_type: name.encode() for event_type, name in NAMES.items()}
_HEADS: Final[dict[int, bytes]] = {
    event_type: b"event: " + name + b"\ndata: " for event_type, name in _NAME_BYTES.items()
}
_OBJECTS: Final = {
    event_type: b'","data":{"object":"' + name + b'","delta":' for event_type, name in _NAME_BYTES.items()
}


def encode(event: Event | TextDelta, id_tail: bytes, sequence: int, timestamp: bytes) -> bytes:
    """`{"id", "type", "sequence", "timestamp", "data"}`, in this order, without white space. `id_tail` is the run's."""
    if isinstance(event, TextDelta):
        return b'{"id":"%08x%b","type":"%b","sequence":%d,"timestamp":"%b%b%b,"iteration":%d}}' % (
            sequence,
            id_tail,
            _NAME_BYTES[event.type],
            sequence,
            timestamp,
            _OBJECTS[event.type],
            orjson.dumps(event.delta),
            event.iteration,
        )
    head = (sequence, id_tail, _NAME_BYTES[event.type], sequence, timestamp)
    return b'{"id":"%08x%b","type":"%b","sequence":%d,"timestamp":"%b","data":%b}' % (*head, orjson.dumps(event.data))


def frame(sequence: int, event_type: int, payload: bytes) -> bytes:
    """The event as Server-Sent Events carry it (contract section 4.2)."""
    return b"id: %d\n%b%b\n\n" % (sequence, _HEADS[event_type], payload)


def decode(record_type: int, payload: bytes) -> "StoredEvent":
    """A stored event, for translators into another dialect."""
    held = orjson.loads(payload)
    return StoredEvent(EventType(record_type), held["sequence"], held["timestamp"], held["data"])


def delta_of(payload: bytes) -> str:
    """The text of a stored delta, for a run whose process is gone."""
    return str(orjson.loads(payload)["data"]["delta"])


def from_subagent(payload: bytes) -> bool:
    """Whether a stored event comes from a subagent and not from the agent itself."""
    return b'"source":' in payload and "source" in orjson.loads(payload)["data"]
