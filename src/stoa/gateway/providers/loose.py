"""JSON that is not quite JSON: NaN and Infinity, and surrogate pairs that were cut in two. Only for what the strict
parser refuses."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

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


_Textual: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta


class Halves:
    """Joins a character whose two surrogates came in two events: in text, in reasoning, or in the arguments of one
    tool call. `pending` is the delta that consists of the first surrogate and waits for the second."""

    def __init__(self) -> None:
        self.pending: _Textual | None = None

    def mended(self, deltas: Sequence[Delta]) -> list[Delta]:
        """The deltas of one event, with text that can be encoded."""
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta | ReasoningDelta):
                out += self._joined(delta, delta.text)
            elif isinstance(delta, ToolCallDelta):
                out += self._joined(replace(delta, id=cleaned(delta.id), name=cleaned(delta.name)), delta.arguments)
            else:
                out.append(delta)
        return out

    def flush(self) -> list[Delta]:
        """At the end: a surrogate whose other half never came."""
        pending, self.pending = self.pending, None
        return [] if pending is None else [_piece(pending, "\ufffd")]

    def _joined(self, delta: _Textual, text: str) -> list[Delta]:
        before: list[Delta] = []
        if (pending := self.pending) is not None:
            if not _continues(pending, delta):
                before = self.flush()
            elif text:
                text, self.pending = f"{_text_of(pending)}{text}", None
        if (half := _HIGH.search(text)) is not None:
            text, self.pending = text[: half.start()], _piece(delta, half.group())
        if isinstance(delta, ToolCallDelta) and delta.name is not None:
            return [*before, replace(delta, arguments=cleaned(text))]
        return [*before, _piece(delta, cleaned(text))] if text else before


def _continues(pending: _Textual, delta: _Textual) -> bool:
    """Whether the delta is of the same text."""
    if isinstance(pending, ToolCallDelta) and isinstance(delta, ToolCallDelta):
        return pending.index == delta.index
    return type(pending) is type(delta)


def _text_of(delta: _Textual) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def _piece(delta: _Textual, text: str) -> _Textual:
    """A delta of the same text as this one, without the announcement of its tool call."""
    return ToolCallDelta(delta.index, text) if isinstance(delta, ToolCallDelta) else type(delta)(text)
