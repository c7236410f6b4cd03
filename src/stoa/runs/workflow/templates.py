"""Texts with `{{field}}` in them: a prompt, a role, a question to a person. Pure.

Between the braces is a name, with dots or brackets for nested values (`{{user.name}}`, `{{items[0]["title"]}}`). A part
may be repeated for each item of a list (`{% for one in items %} … {% endfor %}`) or be optional (`{% if name %} … {%
else %} … {% endif %}`), as in the platform's prompts. Nothing else is supported: no filter, no call, no arithmetic. So
the cost of a text depends only on its length and its lists, and both are bounded.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import orjson

CHARACTERS_MAX: Final = 2_000_000
"""The limit of a filled text."""
ROUNDS_MAX: Final = 10_000
"""The limit of iterations of all loops of a text together."""
DEPTH_MAX: Final = 4
"""The limit of nested blocks."""
MISSING: Final = object()
_PATH: Final = r"[\w-]+(?:\.[\w-]+|\[(?:\d+|\"[^\"\]]*\"|'[^'\]]*')\])*"
_PART: Final = re.compile(r"\{\{([^{}]*)\}\}|\{%([^{}%]*)%\}")
_BEGUN: Final = re.compile(r"\{\{|\{%")
_WHOLE_PATH: Final = re.compile(_PATH)
_STEP: Final = re.compile(r"[\w-]+|\[(?:(\d+)|\"([^\"\]]*)\"|'([^'\]]*)')\]")
_FOR: Final = re.compile(rf"for\s+([\w-]+)\s+in\s+({_PATH})")
_IF: Final = re.compile(rf"if\s+(not\s+)?({_PATH})")


class TemplateError(Exception):
    """A text is not a valid template, or is too long once filled; the sentence continues after the field's name."""


@dataclass(frozen=True, slots=True)
class _Field:
    path: Sequence[str]
    text: str


@dataclass(frozen=True, slots=True)
class _Loop:
    name: str
    path: Sequence[str]
    body: "list[_Piece]" = field(default_factory=list["_Piece"])


@dataclass(frozen=True, slots=True)
class _Choice:
    negated: bool
    path: Sequence[str]
    body: "list[_Piece]" = field(default_factory=list["_Piece"])
    otherwise: "list[_Piece]" = field(default_factory=list["_Piece"])


_Piece: TypeAlias = str | _Field | _Loop | _Choice


def problem(text: str) -> str | None:
    """Why a text is not a valid template, or None; the sentence continues after the field's name."""
    try:
        _parsed(text)
    except TemplateError as error:
        return str(error)
    return None


def missing(text: str, fields: Mapping[str, Any]) -> Sequence[str]:
    """The fields that it needs and that are missing, by their first name."""
    return list(dict.fromkeys(name for name in _wanted(_parsed(text)) if name not in fields))


def filled(text: str, fields: Mapping[str, Any]) -> str:
    """A placeholder of a missing field stays as it is; one that a list's item lacks becomes empty. Values are inserted
    once and not filled themselves. Raises TemplateError."""
    filling = _Filling()
    filling.fill(_parsed(text), fields)
    return "".join(filling.parts)


def as_text(value: Any) -> str:
    """A value in readable form: text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()


class _Filling:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._left, self._rounds = CHARACTERS_MAX, ROUNDS_MAX
        self._items: list[str] = []
        """The loop variables of the enclosing loops."""

    def fill(self, pieces: Sequence["_Piece"], fields: Mapping[str, Any]) -> None:
        for piece in pieces:
            if isinstance(piece, str):
                self._add(piece)
            elif isinstance(piece, _Field):
                value = _value(fields, piece.path)
                absent = "" if piece.path[0] in self._items else piece.text
                self._add(absent if value is MISSING else as_text(value))
            elif isinstance(piece, _Choice):
                value = _value(fields, piece.path)
                holds = bool(value) and value is not MISSING
                self.fill(piece.otherwise if holds is piece.negated else piece.body, fields)
            else:
                self._repeat(piece, fields)

    def _repeat(self, loop: _Loop, fields: Mapping[str, Any]) -> None:
        values = _value(fields, loop.path)
        items: list[Any] = list(values) if isinstance(values, list | Mapping) else []
        self._rounds -= len(items)
        if self._rounds < 0:
            raise TemplateError(f"repeats its parts more than {ROUNDS_MAX} times")
        self._items.append(loop.name)
        for index, item in enumerate(items):
            about = {"index": index + 1, "index0": index, "first": index == 0, "last": index == len(items) - 1}
            self.fill(loop.body, ChainMap({loop.name: item, "loop": about}, cast("dict[str, Any]", fields)))
        self._items.pop()

    def _add(self, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise TemplateError(f"has more than {CHARACTERS_MAX} characters once it is filled")
        self.parts.append(text)


# --- reading --------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=512)
def _parsed(text: str) -> Sequence[_Piece]:
    """Raises TemplateError."""
    top: list[_Piece] = []
    into = top
    open_blocks: list[tuple[_Loop | _Choice, list[_Piece]]] = []
    at = 0
    trim = False
    for found in _PART.finditer(text):
        inside = (found[1] if found[2] is None else found[2]).strip()
        into.append(_literal(text[at : found.start()], trim_start=trim, trim_end=inside.startswith("-")))
        at, trim = found.end(), inside.endswith("-")
        tag = inside.removeprefix("-").removesuffix("-").strip()
        if found[2] is None:
            into.append(_Field(_path(tag, found[0]), found[0]))
        elif block := _block(tag):
            into.append(block)
            open_blocks.append((block, into))
            into = block.body
            if len(open_blocks) > DEPTH_MAX:
                raise TemplateError(f"has blocks within one another deeper than {DEPTH_MAX} levels")
        elif tag == "else" and open_blocks and isinstance(choice := open_blocks[-1][0], _Choice):
            into = choice.otherwise
        elif open_blocks and tag == ("endfor" if isinstance(open_blocks[-1][0], _Loop) else "endif"):
            into = open_blocks.pop()[1]
        else:
            raise TemplateError(_not_here(found[0]))
    if open_blocks:
        ended = "endfor" if isinstance(open_blocks[-1][0], _Loop) else "endif"
        raise TemplateError(f"has a block without its {{% {ended} %}}")
    into.append(_literal(text[at:], trim_start=trim, trim_end=False))
    return top


def _block(tag: str) -> _Loop | _Choice | None:
    if named := _FOR.fullmatch(tag):
        return _Loop(named[1], _path(named[2], tag))
    if named := _IF.fullmatch(tag):
        return _Choice(named[1] is not None, _path(named[2], tag))
    return None


def _path(name: str, shown: str) -> Sequence[str]:
    if _WHOLE_PATH.fullmatch(name) is None:
        raise TemplateError(_not_here(shown))
    return [next((part for part in found.groups() if part is not None), found[0]) for found in _STEP.finditer(name)]


def _not_here(shown: str) -> str:
    return (
        f"holds {shown[:30]!r}; only names stand between {{{{ and }}}}, as {{{{query}}}}, and blocks are"
        " {% for name in list %} and {% if name %}"
    )


def _literal(text: str, *, trim_start: bool, trim_end: bool) -> str:
    """The text between two blocks. Raises TemplateError where something looks like a block and is none."""
    if (begun := _BEGUN.search(text)) is not None:
        raise TemplateError(_not_here(text[begun.start() :]))
    text = text.lstrip() if trim_start else text
    return text.rstrip() if trim_end else text


def _wanted(pieces: Sequence[_Piece], known: frozenset[str] = frozenset()) -> Iterator[str]:
    """The fields of a condition may be missing."""
    for piece in pieces:
        if isinstance(piece, _Field | _Loop) and piece.path[0] not in known:
            yield piece.path[0]
        if isinstance(piece, _Loop):
            yield from _wanted(piece.body, known | {piece.name, "loop"})
        if isinstance(piece, _Choice):
            given = known | ({piece.path[0]} if not piece.negated else set())
            yield from _wanted(piece.body, given)
            yield from _wanted(piece.otherwise, known)


def _value(fields: Any, path: Sequence[str]) -> Any:
    value = fields
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            return MISSING
    return value
