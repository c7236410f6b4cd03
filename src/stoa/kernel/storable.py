"""Text and values that the database can store: PostgreSQL accepts no NUL in a text, and no lone surrogates."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

REPLACEMENT: Final = "\ufffd"
INTEGER_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 100
"""Nesting of lists and objects: orjson writes 254 levels, and a value is nested in an event or a checkpoint."""


def as_storable(text: str) -> str:
    """The text, with U+FFFD for characters that cannot be stored. For ASCII, the usual case, Python only checks a
    flag."""
    if text.isascii():
        return text.replace("\0", REPLACEMENT) if "\0" in text else text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode(
            "utf-16-le", "replace"
        )  # Joins halves of one character.
    return text.replace("\0", REPLACEMENT)


def as_storable_value(value: Any, depth: int = 0) -> Any:
    """The nearest JSON value that can be stored. Never raises."""
    if isinstance(value, str):
        return as_storable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= INTEGER_MAX else str(value)[:100] if value.bit_length() < 10_000 else REPLACEMENT
    if isinstance(value, float):
        return value if isfinite(value) else None
    if depth < DEPTH_MAX:
        if isinstance(value, Mapping):
            return {
                str(as_storable_value(name, depth + 1)): as_storable_value(held, depth + 1)
                for name, held in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return [as_storable_value(held, depth + 1) for held in value]
    return REPLACEMENT


def is_storable(value: Any, depth: int = 0) -> bool:
    """Whether a JSON value from outside can be stored unchanged, at any depth of an event or a checkpoint."""
    if isinstance(value, dict):
        return depth < DEPTH_MAX and all(
            is_storable(name) and is_storable(held, depth + 1) for name, held in value.items()
        )
    if isinstance(value, list):
        return depth < DEPTH_MAX and all(is_storable(held, depth + 1) for held in value)
    if isinstance(value, str):
        return as_storable(value) == value
    if isinstance(value, int):
        return abs(value) <= INTEGER_MAX
    return not isinstance(value, float) or isfinite(value)
