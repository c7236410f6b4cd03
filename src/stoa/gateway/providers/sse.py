"""Server-Sent Events out of bytes that may be cut anywhere: inside a character, a line end, an event."""

from collections.abc import Iterator
from typing import Final

EVENT_BYTES_MAX: Final = 1024 * 1024


class EventTooLarge(ValueError):
    """One event is over EVENT_BYTES_MAX: whoever sends that does not speak this protocol."""


class EventParser:
    """Feed it bytes; it gives each event's data. Comments, names and ids are passed over: no model's wire needs
    them."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._bytes = 0

    @property
    def open(self) -> bool:
        """Whether an event has begun and is not complete."""
        return bool(self._rest or self._data)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that are complete with this chunk. Raises EventTooLarge."""
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
        for line in lines:
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                    self._data, self._bytes = [], 0
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._bytes += len(value)
                if self._bytes > EVENT_BYTES_MAX:
                    raise EventTooLarge
                self._data.append(value)

    def close(self) -> Iterator[bytes]:
        """An event that the end of the stream completes: some servers leave the last blank line out."""
        yield from self.feed(b"\n\n")
