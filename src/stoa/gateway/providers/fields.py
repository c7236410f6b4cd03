"""Readers of fields in untrusted JSON. Each function returns the type that it names, whatever the input is. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

COUNT_MAX: Final = 1_000_000_000
"""Of tokens in one reply: the bill's columns hold 32 bits."""


def object_of(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> Sequence[Any]:
    """A list as it is; nothing as an empty one; anything else as a list of one."""
    if isinstance(value, list):
        return value
    return () if value is None else (value,)


def text_of(value: Any) -> str:
    """Text, and numbers as text; empty for everything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def count_of(value: Any) -> int:
    """A count of tokens: 0 for what is none, and never more than COUNT_MAX."""
    if type(value) is int:
        return 0 if value <= 0 else min(value, COUNT_MAX)
    if value is None:
        return 0
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # NaN is not over 0 either.
        return 0
    return int(min(value, COUNT_MAX))


def index_of(value: Any) -> int | None:
    """The number of a block, call or choice; None where none was given."""
    if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def status_of(value: Any) -> int | None:
    """An HTTP status of a failure, as a number or as text."""
    status = index_of(value)
    return status if status is not None and 400 <= status <= 599 else None
