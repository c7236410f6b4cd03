"""JSON that is not quite JSON: NaN and Infinity, and surrogate pairs that were cut in two. Only for what the strict
parser refuses."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from stoa.gateway.types import Delta, ReasoningDelta, TextDelta, ToolCallDelta

_HIGH: Final = re.compile("[\ud800-\udbff]$")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse(data: bytes) -> Any:
    """Raises ValueError. Strings of the answer may hold surrogates: `Halves` and `cleaned` take them out."""
    try:
        return json.loads(data.decode("utf-8", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def cleaned(value: Any) -> Any:
    """The same JSON as the database can hold it: without surrogates and NUL. Raises RecursionError."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", _joined(value)).replace("\0", "\ufffd")
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(item) for name, item in value.items()}
    return value


def _joined(text: str) -> str:
    """Halves that stand side by side become their character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if _SURROGATE.search(text) else text


class Halves:
    """Joins a character whose two halves came in two events. `pending` is the half that waits, and the kind of its
    delta."""

    def __init__(self) -> None:
        self.pending: tuple[type[TextDelta | ReasoningDelta], str] | None = None

    def mended(self, deltas: Sequence[Delta]) -> list[Delta]:
        """The deltas of one event, with text that can be encoded."""
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta | ReasoningDelta):
                out += self._text(delta)
            elif isinstance(delta, ToolCallDelta):
                out.append(
                    replace(delta, **{name: cleaned(getattr(delta, name)) for name in ("arguments", "id", "name")})
                )
            else:
                out.append(delta)
        return out

    def flush(self) -> list[Delta]:
        """At the end: a half that nothing completed."""
        if self.pending is None:
            return []
        kind, _ = self.pending
        self.pending = None
        return [kind("\ufffd")]

    def _text(self, delta: TextDelta | ReasoningDelta) -> list[Delta]:
        kind, text, before = type(delta), delta.text, list[Delta]()
        if self.pending is not None:
            if self.pending[0] is kind:
                text, self.pending = self.pending[1] + text, None
            else:
                before = self.flush()
        if (half := _HIGH.search(text)) is not None:
            text, self.pending = text[: half.start()], (kind, half.group())
        text = cleaned(text)
        return [*before, kind(text)] if text else before
