"""Converts other programs' JSON into what PostgreSQL can store. Pure."""

import json
import re
from typing import Any, Final

import orjson

from stoa.kernel.storable import as_storable_value

LOOSE_BYTES_MAX: Final = 2 * 1024 * 1024
"""A text up to this size that is not strict JSON is parsed a second time, leniently: it keeps a thread busy for 40
ms."""
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def parsed(body: bytes) -> Any:
    """Without NUL and without lone surrogates. Raises ValueError.

    Python's `json` writes NaN and Infinity, and clients that cut a text between two surrogates write a lone one.
    Neither is valid JSON: they become null and U+FFFD, so that one value does not cost the whole batch.
    """
    try:
        return orjson.loads(_NUL.sub(rb"\1\\ufffd", body) if b"\\u0000" in body else body)
    except orjson.JSONDecodeError:
        if len(body) > LOOSE_BYTES_MAX:
            raise
    try:
        return as_storable_value(json.loads(body.decode("utf-8", "replace")))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
