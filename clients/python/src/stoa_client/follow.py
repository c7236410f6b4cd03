"""The state of reading one run's stream. No I/O: takes frames, returns events, and verifies the hash at the end."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

from stoa_client import events
from stoa_client.errors import GapError, ProtocolError
from stoa_client.events import AnyEvent, ResponseDelta, RunRecovered, TerminalEvent
from stoa_client.sse import Frame


@dataclass(frozen=True, slots=True)
class TextChange:
    """A change of the answer's text. If `discarded` is not empty, remove it from the end of the displayed text: a node
    has died, and another one writes this part again. Then print `delta`. `text` is the complete text after the change.
    """

    delta: str
    text: str
    discarded: str = ""


class AnswerText:
    """The growing answer: the response text of the agent itself, without that of subagents, and without text that a
    recovery has discarded."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, str]] = []
        self._whole = ""

    @property
    def whole(self) -> str:
        return self._whole

    def take(self, event: AnyEvent) -> TextChange | None:
        """The change by this event, if any."""
        if isinstance(event, ResponseDelta) and event.data.source is None and event.data.delta:
            self._pieces.append((event.sequence, event.data.delta))
            self._whole += event.data.delta
            return TextChange(event.data.delta, self._whole)
        if isinstance(event, RunRecovered):
            return self._discard(event.data.discard_from)
        return None

    def _discard(self, discard_from: int) -> TextChange | None:
        before = self._whole
        self._pieces = [piece for piece in self._pieces if piece[0] < discard_from]
        self._whole = "".join(delta for _, delta in self._pieces)
        discarded = before[len(self._whole) :]
        return TextChange("", self._whole, discarded) if discarded else None


class Follower:
    """Checks the sequence of a run's events: accepts the next one, skips those it has seen, and refuses a gap.

    `verified` is None until the terminal event, and if verification is impossible, because the reader began in the
    middle or the server sent no `log`. Otherwise it says whether all events arrived exactly as they were written.
    """

    def __init__(self, *, after: int = 0, run_id: str | None = None) -> None:
        self.sequence = after
        self.run_id = run_id
        self.verified: bool | None = None
        self.terminal: TerminalEvent | None = None
        self.text = AnswerText()
        self.last_change: TextChange | None = None
        """The change of the answer's text by the last event."""
        self.began_at = after
        self._hash = hashlib.sha256()

    def take(self, frame: Frame) -> AnyEvent | None:
        """The event of this frame, or None if it was seen before. Raises GapError, ProtocolError."""
        event = events.event(self._parse(frame))
        expected = self.sequence + 1
        if event.sequence < expected:
            return None
        if event.sequence > expected:
            raise GapError(expected=expected, received=event.sequence, run_id=self.run_id)
        self.sequence = event.sequence
        self.last_change = self.text.take(event)
        if isinstance(event, TerminalEvent):
            self.terminal = event
            self.verified = self._verify(event)
        else:
            self._hash.update(frame.data)
            self._hash.update(b"\n")
        if self.run_id is None and isinstance(event, events.RunStarted):
            self.run_id = event.data.id
        return event

    def _parse(self, frame: Frame) -> dict[str, Any]:
        try:
            parsed = json.loads(frame.data)
        except ValueError as error:
            raise self._protocol(f"An event is no JSON: {frame.data[:80]!r}") from error
        if not isinstance(parsed, dict):
            raise self._protocol(f"An event is no JSON object: {frame.data[:80]!r}")
        raw = cast("dict[str, Any]", parsed)
        sequence = raw.get("sequence")
        if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 1:
            raise self._protocol(f"An event has no sequence: {frame.data[:80]!r}")
        if not isinstance(raw.get("data"), dict):
            raise self._protocol(f"Event {sequence} has no data: {frame.data[:80]!r}")
        return raw

    def _protocol(self, what: str) -> ProtocolError:
        message = f"{what}. Look for a proxy that changes answers, and at the base URL."
        return ProtocolError(message, run_id=self.run_id, sequence=self.sequence)

    def _verify(self, terminal: TerminalEvent) -> bool | None:
        log = terminal.data.log
        if log is None:
            return None
        if log.events != terminal.sequence - 1:
            return False
        return log.sha256 == self._hash.hexdigest() if self.began_at == 0 else None
