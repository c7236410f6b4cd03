"""Server-Sent Events out of bytes that may be cut anywhere: inside a character, a line end, an event."""

from collections.abc import Iterator
from typing import Final

import orjson

EVENT_BYTES_MAX: Final = 1024 * 1024
_DONE: Final = (b"data: [DONE]", b"data:[DONE]")
_DONE_BYTES_MAX: Final = 16


class EventTooLarge(ValueError):
    """One event is over EVENT_BYTES_MAX: whoever sends that does not speak this protocol."""


class EventParser:
    """Feed it bytes; it gives each event's data. Comments, ids and names are passed over, but for the name `error`: its
    data is given as the value of an object's `error`, where the readers look for it.

    Servers that speak the protocol badly are read too: events without the blank line between them, and errors that
    stand in the stream as bare JSON (Ollama) or behind `error:` (llama.cpp).
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._bytes = 0
        self._failed = False

    @property
    def open(self) -> bool:
        """Whether an event has begun and is not complete."""
        return bool(self._rest or self._data)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that are complete with this chunk. Raises EventTooLarge."""
        for line in self._lines(chunk):
            if not line:
                if self._data:
                    yield self._event()
                self._failed = False
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                done = len(value) < _DONE_BYTES_MAX and value.strip() == b"[DONE]"
                if self._data and (done or _begins(self._data[-1], value)):
                    yield self._event()
                if done:
                    yield value
                    continue
                self._bytes += len(value)
                if self._bytes > EVENT_BYTES_MAX:
                    raise EventTooLarge
                self._data.append(value)
            elif line.startswith((b"event:", b"error:", b'{"error"')):
                yield from self._named(line)

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete with this chunk. The mark of the stream's end is a line without a line end too:
        nothing may come behind it, on a connection that stays open. Raises EventTooLarge."""
        text = self._rest + chunk
        if text.endswith(b"\r"):  # Half of a CR LF, perhaps.
            text, held = text[:-1], b"\r"
        else:
            held = b""
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._rest = lines.pop() + held
        if len(self._rest) > EVENT_BYTES_MAX:
            raise EventTooLarge
        if self._rest.rstrip() in _DONE:
            lines.append(self._rest.rstrip())
            self._rest = b""
        return lines

    def _event(self) -> bytes:
        data = b"\n".join(self._data)
        self._data, self._bytes = [], 0
        return _failure(data) if self._failed else data

    def _named(self, line: bytes) -> Iterator[bytes]:
        """Lines that are no data, and tell of an error."""
        if line.startswith(b"event:"):
            self._failed = line[6:].strip() == b"error"
        else:
            if self._data:
                yield self._event()
            yield line if line.startswith(b"{") else _failure(line[6:].strip())

    def close(self) -> Iterator[bytes]:
        """An event that the end of the stream completes: some servers leave the last blank line out."""
        yield from self.feed(b"\n\n")


def _begins(before: bytes, value: bytes) -> bool:
    """Whether a line of data begins another event, although no blank line stands between: within the JSON of one event
    no line that ends with a brace is followed by one that begins with a brace."""
    return before.rstrip().endswith(b"}") and value.startswith(b"{")


def _failure(data: bytes) -> bytes:
    """What an event named `error` says, as the value of `error`; text that is no JSON as a string."""
    try:
        held = orjson.loads(data)
    except orjson.JSONDecodeError:
        held = data.decode("utf-8", "replace")
    return orjson.dumps({"error": held or "it says only that there was an error"})
