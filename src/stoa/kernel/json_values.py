"""Which JSON can be stored: the limits of PostgreSQL, of 64-bit readers and of our own code, checked in one module.

The check stops at the first problem and names its path as a caller writes it: `metadata.tags[3]`. It is a generator,
so that the event loop can do other work while a large value is checked.
"""

import json
import re
from collections.abc import Generator
from math import isfinite
from typing import Any, Final

import orjson

from stoa.kernel.errors import BadRequest

DEPTH_MAX: Final = 100
"""Nesting of lists and objects; JSON schemas and OpenAPI documents stay below 50."""
KEY_CHARACTERS_MAX: Final = 4_000
STEP_VALUES: Final = 2_000
"""Values between two yields: about a millisecond."""
FALLBACK_BYTES_MAX: Final = 1024 * 1024
"""Up to this size a text that orjson refuses is parsed again by a slower parser, only to name the field."""
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

_LONG_INTEGER: Final = re.compile(rb"[0-9]{19}")
_Node = tuple[Any, str | int] | None
"""(node of the parent, key): a path that costs nothing until it is written."""
Problem = tuple[str, str]
"""(path, reason)."""


def read(text: bytes, field: str, values_max: int) -> Any:
    """The checked value of a small JSON text. Raises BadRequest naming what is wrong below `field` ("body" leads no
    path)."""
    value = load(text, field)
    refuse(problem(value, values_max), field)
    return value


def load(text: bytes, field: str) -> Any:
    """The unchecked value. Raises BadRequest for invalid JSON, NaN or half of a surrogate pair."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _malformed(text, error, field) from error
    if _LONG_INTEGER.search(text) and len(text) <= FALLBACK_BYTES_MAX:
        # orjson turns an integer beyond 64 bits into a float; the slower parser finds its path.
        return json.loads(text, parse_int=_integer)
    return value


def refuse(found: Problem | None, field: str) -> None:
    """Raises BadRequest for a problem below `field`."""
    if found is not None:
        path, reason = found
        prefix = "" if field == "body" else field
        joined = f"{prefix}{path}" if path.startswith("[") or not prefix or not path else f"{prefix}.{path}"
        raise BadRequest.field(joined or field, reason)


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else 2**64


def _malformed(text: bytes, error: orjson.JSONDecodeError, field: str) -> BadRequest:
    """Names the path of a value that can be parsed but not stored: NaN, half of a surrogate pair, 1e999."""
    if len(text) <= FALLBACK_BYTES_MAX:
        try:
            refuse(problem(json.loads(text, parse_int=_integer), 2**63), field)
        except BadRequest as refused:
            return refused
        except RecursionError:
            return BadRequest.field(field, f"is nested more than {DEPTH_MAX} levels deep")
        except ValueError:
            pass
    if "depth" in str(error) or "recursion" in str(error):
        return BadRequest.field(field, f"is nested more than {DEPTH_MAX} levels deep")
    return BadRequest.field(field, f"is not valid JSON at character {error.pos}: {error.msg}")


def problem(value: object, values_max: int) -> Problem | None:
    """The first thing in `value` that cannot be stored; a path of "" is the value itself."""
    walking = walk(value, values_max)
    while True:
        try:
            next(walking)
        except StopIteration as end:
            found: Problem | None = end.value
            return found


def walk(value: object, values_max: int) -> Generator[None, None, Problem | None]:
    """The same in steps."""
    if not isinstance(value, dict | list):
        reason = _scalar(value)
        return ("", reason) if reason else None
    stack: list[tuple[Any, _Node, int]] = [(value, None, 1)]
    count, pause = 0, STEP_VALUES
    while stack:
        holder, node, depth = stack.pop()
        named = type(holder) is dict
        for key, child in holder.items() if named else enumerate(holder):
            count += 1
            if count > values_max:
                return "", f"holds more than {values_max} values"
            if count >= pause:
                pause += STEP_VALUES
                yield
            if isinstance(key, str) and (reason := _key(key)):
                return _path(node), reason
            if isinstance(child, dict | list):
                if depth >= DEPTH_MAX:
                    return _shallow((node, key)), f"is nested more than {DEPTH_MAX} levels deep"
                stack.append((child, (node, key), depth + 1))
            elif reason := _scalar(child):
                return _path((node, key)), reason
    return None


def _key(key: str) -> str | None:
    if len(key) > KEY_CHARACTERS_MAX:
        return f"has a key of more than {KEY_CHARACTERS_MAX} characters"
    reason = _text(key)
    return f"has a key that {reason}" if reason else None


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return None if isfinite(value) else "must be a finite number"
    if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
        return "must be a number of at most 64 bits"
    return None


def _text(text: str) -> str | None:
    if "\x00" in text:
        return "cannot hold the character NUL"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is no character"
    return None


def _shallow(node: _Node) -> str:
    """The beginning of the path of a value that is nested too deeply."""
    path = re.sub(r"(?:\[\d+\])+$", "", _path(node))
    return ".".join(path.split(".")[:4])


def _path(node: _Node) -> str:
    parts: list[str | int] = []
    while node is not None:
        node, key = node
        parts.append(key)
    path = ""
    for part in reversed(parts):
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part[:100].encode("utf-8", "replace").decode()
            path += f".{name}" if path else name
    return path
