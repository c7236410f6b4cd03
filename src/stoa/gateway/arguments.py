"""The arguments of a tool call, as models write them. Pure."""

import json
from math import isfinite
from typing import Any

import orjson


def arguments_in(text: str) -> dict[str, Any] | None:
    """The JSON object of a call's arguments, empty where nothing was written; None where there is no object. Line
    breaks and tabs may stand in strings as they are: many models write them so."""
    try:
        held = orjson.loads(text.strip() or b"{}")
    except orjson.JSONDecodeError:
        try:
            held = json.loads(text, strict=False, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError):
            return None
    return held if isinstance(held, dict) else None


def _finite(number: str) -> float:
    """NaN and Infinity are no JSON: what gets them could not write them again."""
    if not isfinite(value := float(number)):
        raise ValueError(number)
    return value
