"""Makes the values of a document storable. Pure."""

from collections.abc import Mapping
from itertools import count
from math import isfinite
from typing import Any, Final


def storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


INTEGER_BITS_MAX: Final = 63
"""What is stored as an integer; YAML has larger ones."""
FLOAT_BITS_MAX: Final = 1023
VALUES_MAX: Final = 50_000
"""In one tool."""


class TooMany(ValueError):
    """A value expands to more values than a tool may have."""


def clean(value: Any) -> Any:
    """YAML's dates, and numbers as keys, become text; unstorable characters are replaced. Raises TooMany: a few lines
    of YAML aliases can expand to billions of values."""
    return _clean(value, count())


def _clean(value: Any, seen: "count[int]") -> Any:
    if next(seen) > VALUES_MAX:
        raise TooMany
    if isinstance(value, Mapping):
        return {storable(str(key)): _clean(one, seen) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, seen) for one in value]
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX:
        return float(value) if value.bit_length() <= FLOAT_BITS_MAX else hex(value)[:100]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)
