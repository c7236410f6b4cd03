# Written by tools/clients/carried.py from clients/python/src/stoa_client/sse.py; change that.
"""Parses Server-Sent Events from bytes, as the HTML standard defines. No I/O.

It splits bytes into lines, at LF, CR and CRLF only: `str.splitlines` also splits at U+0085 and U+2028, which JSON may
contain unescaped, and a chunk may end inside a character.
"""

import re
from dataclasses import dataclass
from typing import Final

from stoa.cli.stream.errors import ProtocolError

BOM: Final = b"\xef\xbb\xbf"
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
"""Larger than any event of a server. A longer frame means that this is not an event stream."""
_END: Final = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as it arrived. `data` has the exact bytes of its `data:` lines, joined by LF. `id` is the last id of
    this event or an earlier one."""

    event: str
    data: bytes
    id: str = ""


class Decoder:
    """Takes chunks of bytes, returns complete frames. A frame without its closing empty line is never returned."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._started = False
        self._skip_lf = False
        self._event = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._id = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Raises ProtocolError if a frame exceeds FRAME_BYTES_MAX."""
        self._buffer += chunk
        if len(self._buffer) + self._data_bytes > FRAME_BYTES_MAX:
            raise ProtocolError(f"An event is over {FRAME_BYTES_MAX} bytes; this is not a stream of Stoa's events.")
        if not self._started and not self._begin():
            return []
        frames: list[Frame] = []
        at = 0
        while True:
            if self._skip_lf and at < len(self._buffer):
                self._skip_lf = False
                at += self._buffer[at] == 0x0A
            found = _END.search(self._buffer, max(at, self._searched))
            if found is None:
                break
            end = found.start()
            # A CR ends a line at once, without waiting for a possible LF, which is skipped when it arrives.
            self._skip_lf = self._buffer[end] == 0x0D
            if (frame := self._take(bytes(self._buffer[at:end]))) is not None:
                frames.append(frame)
            at, self._searched = end + 1, 0
        del self._buffer[:at]
        self._searched = len(self._buffer)
        return frames

    def _begin(self) -> bool:
        """Skips a byte order mark at the start, also if it is split over chunks. False while this is undecided."""
        if len(self._buffer) < len(BOM) and BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(BOM):
            del self._buffer[: len(BOM)]
        self._started = True
        return True

    def _take(self, line: bytes) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
        elif name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        # A comment has an empty name. A run's events need no `id`: `sequence` is the same, and the hash covers it.
        return None

    def _dispatch(self) -> Frame | None:
        event = self._event.decode("utf-8", "replace")
        frame = Frame(event, b"\n".join(self._data), self._id) if self._data else None
        self._event, self._data, self._data_bytes = b"", [], 0
        return frame
