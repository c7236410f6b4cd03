"""An event's bytes: one JSON object, exactly as stored and as sent on the `data:` line."""

from typing import Final
from uuid import UUID

import orjson

from stoa.events.types import NAMES, Event, TextDelta
from stoa.kernel.ids import event_id

_NAME_BYTES: Final = {kind: name.encode() for kind, name in NAMES.items()}
_HEADS: Final[dict[int, bytes]] = {kind: b"event: " + name + b"\ndata: " for kind, name in _NAME_BYTES.items()}
_OBJECTS: Final = {kind: b'","data":{"object":"' + name + b'","delta":' for kind, name in _NAME_BYTES.items()}


def encode(event: Event | TextDelta, run_id: UUID, sequence: int, timestamp: str) -> bytes:
    """`{"id", "type", "sequence", "timestamp", "data"}`, in this order and without white space."""
    head = b'{"id":"%b","type":"%b","sequence":%d,"timestamp":"%b' % (
        event_id(run_id, sequence).encode(), _NAME_BYTES[event.kind], sequence, timestamp.encode(),
    )
    if isinstance(event, TextDelta):
        return b'%b%b%b,"iteration":%d}}' % (head, _OBJECTS[event.kind], orjson.dumps(event.delta), event.iteration)
    return b'%b","data":%b}' % (head, orjson.dumps(event.data))


def frame(sequence: int, kind: int, payload: bytes) -> bytes:
    """The event as Server-Sent Events carry it (contract section 4.2)."""
    return b"id: %d\n%b%b\n\n" % (sequence, _HEADS[kind], payload)


def delta_of(payload: bytes) -> str:
    """The text of a stored delta: what a run had said, when the process that knew it is gone."""
    return str(orjson.loads(payload)["data"]["delta"])


def from_helper(payload: bytes) -> bool:
    """Whether a stored event is a helper's and not the agent's own."""
    return b'"source":' in payload and "source" in orjson.loads(payload)["data"]
