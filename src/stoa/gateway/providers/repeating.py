"""The common case of a streamed answer, read without parsing: events that differ from one another in one string of text
alone.

With most providers only the piece of text differs between two events. Once one event has been parsed, and a second
parse has proven that the text is at one place of it, later events are recognized by the bytes before and after that
place. An event that does not match exactly is parsed.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from stoa.gateway.types import Delta, TextDelta

ATTEMPTS_MAX: Final = 8
"""Per reply. If the events of a provider never repeat (random padding, counters), no more attempts are made."""
_PROBE: Final = "\u221a probe 7f3a"
_NOT_PLAIN: Final = re.compile(rb'["\\\x00-\x1f]')
"""What a JSON string cannot hold as it is."""

Read = Callable[[bytes], Sequence[Delta]]
"""Whole events, read in full by a reader that knows nothing of those before."""


class Repeating:
    """The constant bytes before and after the text of an event."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head, self._tail, self._between = head, tail, tail + head
        self._around = len(head) + len(tail)

    def text(self, chunk: bytes) -> str | None:
        """The text of a chunk that is made of such events and of nothing else, from an event's begin to an event's end;
        None for any other."""
        if len(chunk) < self._around or not (chunk.startswith(self._head) and chunk.endswith(self._tail)):
            return None
        # What remains holds no quotation mark, so each string that was taken out stood between two texts, and nowhere
        # else.
        texts = chunk[len(self._head) : len(chunk) - len(self._tail)].replace(self._between, b"")
        if _NOT_PLAIN.search(texts):
            return None
        try:
            return texts.decode()
        except UnicodeDecodeError:
            return None

    @classmethod
    def learned(cls, chunk: bytes, read: Read) -> "Repeating | None":
        """From the last event of a chunk, where it holds a piece of text and nothing else."""
        if not chunk.endswith(b"\n\n") or b"\r" in chunk:
            return None
        event = chunk[chunk.rfind(b"\n\n", 0, -2) + 2 :] if chunk.count(b"\n\n") > 1 else chunk
        match read(event):
            case [TextDelta(text)]:
                place = b'"%b"' % text.encode()
            case _:
                return None
        if _NOT_PLAIN.search(place, 1, len(place) - 1) or event.count(place) != 1:
            return None
        head, tail = event.split(place)
        found = cls(head + b'"', b'"' + tail)
        # The proof: another text at that place is all that changes.
        return found if list(read(b'%b"%b"%b' % (head, _PROBE.encode(), tail))) == [TextDelta(_PROBE)] else None
