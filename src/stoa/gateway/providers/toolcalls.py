"""Puts tool calls together out of pieces that no two servers number alike. Pure.

A new id, or a name after a complete JSON object, begins a new call, whatever `index` says; the name may come after the
arguments, and in
pieces; arguments may be text, an object, or several objects in one string (which are several calls).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from stoa.gateway.providers.fields import index_of, object_of, text_of
from stoa.gateway.types import Delta, ToolCallDelta

OPAQUE: Final = ("extra_content", "thought_signature", "thoughtSignature", "provider_specific_fields")
"""Fields of a call that its provider wants back unchanged (Gemini's signatures, and proxies before it)."""
_FENCED: Final = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL)
_MARKS: Final = re.compile(r'["\\{}\[\]]')


class Names:
    """The names of the tools as they are on the wire, and ours for them."""

    def __init__(self, ours: Mapping[str, str] | None = None) -> None:
        self._ours = ours or {}

    def known(self, name: str) -> bool:
        return name in self._ours

    def resolved(self, name: str) -> str:
        """Ours. Some models put a namespace before the name (`functions.look`) or a control token behind it."""
        if name in self._ours:
            return self._ours[name]
        bare = re.split(r"[.:/]", name.partition("<|")[0].strip())[-1]
        return self._ours.get(bare, name)


class _Scan:
    """Finds the end of a JSON object in text that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def end_in(self, piece: str) -> int | None:
        """The position after the object's last brace, where this piece holds it."""
        skip = -1
        if self._escaped:
            skip, self._escaped = 0, False
        for match in _MARKS.finditer(piece):
            position, mark = match.start(), match.group()
            if position == skip:
                continue
            if self._quoted:
                if mark == "\\":
                    skip = position + 1
                    self._escaped = skip == len(piece)
                elif mark == '"':
                    self._quoted = False
            elif mark == '"':
                self._quoted = True
            elif mark in "{[":
                self._depth += 1
            elif mark in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return match.end()
        return None


class _Call:
    def __init__(self, number: int, index: int | None, id_: str) -> None:
        self.number, self.index, self.id = number, index, id_
        self.name = ""
        self.complete = self.announced = self.held = False
        self.pieces: list[str] = []
        self.unsent: list[str] = []
        self.extra: dict[str, Any] = {}
        self.scan = _Scan()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ToolCalls:
    """The calls of one reply."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names or Names()
        self.calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self.calls)

    def read(self, entries: Any, out: list[Delta]) -> None:
        """The entries of one event's `tool_calls`."""
        touched: set[int] = set()
        for entry in entries:
            if isinstance(entry, dict):
                self._read(entry, touched, out)

    def _read(self, entry: Mapping[str, Any], touched: set[int], out: list[Delta]) -> None:
        function = object_of(entry.get("function")) or entry
        index, id_ = index_of(entry.get("index")), text_of(entry.get("id"))
        name, arguments = text_of(function.get("name")).strip(), _arguments(function.get("arguments"))
        if not (id_ or name or arguments):
            return
        call = self._continued(index, id_, name, arguments, touched)
        if call is None:
            call = self._begin(index, id_)
        elif id_ and call.id == id_ and call.complete and name and arguments.strip() == call.text.strip():
            return  # The whole call once more, as some servers end a stream.
        call.id = call.id or id_
        call.extra |= {key: held[key] for held in (entry, function) for key in OPAQUE if held.get(key)}
        self._name(call, name)
        touched.add(call.number)
        self._extend(call, arguments, out)

    def _begin(self, index: int | None, id_: str) -> _Call:
        self.calls.append(_Call(len(self.calls), index, id_))
        return self.calls[-1]

    def _continued(self, index: int | None, id_: str, name: str, arguments: str, touched: set[int]) -> _Call | None:
        """The call that this entry goes on with; None where it begins one."""
        last = self.calls[-1] if self.calls else None
        if index is not None:
            numbered = [one for one in reversed(self.calls) if one.index == index]
            same = (one for one in numbered if id_ and one.id == id_)
            call = next(same, numbered[0] if numbered else None)
        elif id_:
            call = next((one for one in reversed(self.calls) if one.id == id_), None)
        else:
            call = last
        if call is None:  # Only a nameless piece may belong to a call that has another number.
            return last if last is not None and not name and not last.complete and (not id_ or last.pieces) else None
        if id_ and call.id and id_ != call.id:  # Some servers make up an id for each piece, and leave the name out.
            return None if name or call.complete else call
        if not name or not call.name:
            return call
        if call.complete:
            repeated = name == call.name and (
                not arguments.strip() or (bool(id_) and id_ == call.id and arguments.strip() == call.text.strip())
            )
            return call if repeated else None
        if index is None and not id_ and call.number in touched:
            return None
        if name != call.name and (call.pieces or (self._names.known(name) and self._names.known(call.name))):
            return None
        return call

    def _name(self, call: _Call, name: str) -> None:
        if not name or name == call.name or call.announced:
            return
        call.name = name if name.startswith(call.name) else call.name + name

    def _extend(self, call: _Call, arguments: str, out: list[Delta]) -> None:
        while arguments:
            if call.complete:
                arguments = arguments.lstrip().removeprefix(",").lstrip()
                if not arguments.startswith("{"):  # A brace too many, or the mark that ends a call in a template.
                    return
                call = self._follower(call)
            if not call.pieces:
                arguments = arguments.lstrip() or arguments
                call.held = arguments[0] != "{"
            end = None if call.complete or call.held else call.scan.end_in(arguments)
            piece, arguments = (arguments, "") if end is None else (arguments[:end], arguments[end:])
            call.complete = call.complete or end is not None
            call.pieces.append(piece)
            call.unsent.append(piece)
            self._say(call, out)
        if self._names.known(call.name):
            self._say(call, out)

    def _follower(self, call: _Call) -> _Call:
        """Another object behind a complete one: another call of the same tool; behind an empty one, which is a
        placeholder, the call itself."""
        if call.text == "{}" and call.unsent:
            call.pieces, call.unsent, call.complete, call.scan = [], [], False, _Scan()
            return call
        follower = self._begin(call.index, "")
        follower.name = call.name
        return follower

    def _say(self, call: _Call, out: list[Delta]) -> None:
        """What can be said of it for certain. What does not look like an object waits for its end, and so does an empty
        one."""
        if not call.name or (call.complete and call.text == "{}") or not (call.unsent or self._names.known(call.name)):
            return
        if call.held and not call.announced and not self._names.known(call.name):
            return
        self._send(call, [] if call.held else call.unsent, out)

    def _send(self, call: _Call, pieces: list[str], out: list[Delta]) -> None:
        text = "".join(pieces)
        if pieces:
            call.unsent = []
        if not call.announced:
            call.announced = True
            out.append(ToolCallDelta(call.number, text, call.id or None, self._names.resolved(call.name)))
        elif text:
            out.append(ToolCallDelta(call.number, text))

    def close(self, out: list[Delta]) -> None:
        """At the reply's end: what has been waiting."""
        for call in self.calls:
            if call.held:
                call.unsent = [_unwrapped(call.text)]
            if call.unsent or not call.announced:
                self._send(call, call.unsent, out)

    def provider_data(self) -> list[dict[str, Any]]:
        """What the provider wants back, call by call."""
        return [{"id": call.id, **call.extra} for call in self.calls]


def _arguments(value: Any) -> str:
    """Text as it is; an object as its JSON. Raises TypeError for what cannot be JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def _unwrapped(text: str) -> str:
    """Arguments that are JSON inside of a JSON string or of a block of code, or nothing at all."""
    if (fenced := _FENCED.fullmatch(text)) is not None:
        return fenced.group(1)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(value, str):
        return value.strip() or "{}"
    return "{}" if value in (None, [], "") else text
