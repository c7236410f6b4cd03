"""Request bodies: their size limits, and the only functions that parse JSON from outside.

All stored JSON came through `read_json` or `parse`: no NUL, no lone surrogate, no number beyond 64 bits,
bounded nesting. The number of values is estimated before a body is parsed, because a megabyte of `[[],[],…` becomes 20
MB of objects.
"""

import asyncio
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final, cast

from starlette.requests import Request

from stoa.kernel import json_values
from stoa.kernel.errors import BadRequest, UnsupportedMediaType

ANONYMOUS_BYTES_MAX: Final = 64 * 1024
"""Bytes of a body that are read before its route is known and its key was checked."""
JSON_BYTES_MAX: Final = 1024 * 1024
MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Enough for a message of a million words; files are uploaded as multipart."""
UPLOAD_BYTES_MAX: Final = 128 * 1024 * 1024
MULTIPART_OVERHEAD_BYTES_MAX: Final = 1024 * 1024
"""Allowance for part headers and form fields of an upload."""
VALUES_MAX: Final = 50_000
"""Values and keys in one JSON body."""

ALLOWANCE: Final = "stoa.body_allowance"
"""The key of the scope under which the edge keeps the `Allowance` of a request."""

_BRACES: Final = re.compile(rb'[\[{,]|"(?:[^"\\]+|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The limit of one route. `bytes_max` of an upload counts the files, without the headers of their parts."""

    bytes_max: int = JSON_BYTES_MAX
    values_max: int = VALUES_MAX


JSON_LIMIT: Final = BodyLimit()
MESSAGE_LIMIT: Final = BodyLimit(MESSAGE_BYTES_MAX)
DOCUMENT_LIMIT: Final = BodyLimit(MESSAGE_BYTES_MAX)
"""For an OpenAPI document as an object; a larger one is sent as text, which is parsed in a separate process, or
fetched from its URL."""
CHAT_LIMIT: Final = BodyLimit(20 * 1024 * 1024, 150_000)
"""For requests of other APIs: enough for some images as data URLs."""
UPLOAD_LIMIT: Final = BodyLimit(UPLOAD_BYTES_MAX)


@dataclass(slots=True)
class Allowance:
    """How much of a request's body may be read. The edge enforces it; the route increases it after the key was
    checked."""

    limit: BodyLimit = BodyLimit(ANONYMOUS_BYTES_MAX)
    overhead_bytes: int = 0

    @property
    def bytes_max(self) -> int:
        return self.limit.bytes_max + self.overhead_bytes

    @property
    def message(self) -> str:
        size = self.limit.bytes_max
        shown = f"{size // 1024 // 1024} MiB" if size >= 1024 * 1024 else f"{size // 1024} KiB"
        return f"The body is over the limit of {shown}."


def allow(scope: MutableMapping[str, Any], limit: BodyLimit) -> None:
    """For a route that reads its body itself: to be called after the key was checked."""
    allowance: Allowance | None = scope.get(ALLOWANCE)
    if allowance is not None:  # None in a test without the edge.
        allowance.limit = limit


async def read_json(body: bytes, limit: BodyLimit) -> Any:
    """The checked value; yields to the event loop. Raises BadRequest naming the field."""
    if _pieces(body) > limit.values_max and not await _few(body, limit.values_max):
        raise BadRequest.field("body", f"holds more than {limit.values_max} values")
    value = json_values.load(body, "body")
    await asyncio.sleep(0)
    walking = json_values.walk(value, limit.values_max)
    while True:
        try:
            next(walking)
        except StopIteration as end:
            json_values.refuse(end.value, "body")
            return value
        await asyncio.sleep(0)


async def read_object(request: Request, limit: BodyLimit) -> dict[str, Any]:
    """An object with arbitrary fields, read after the key was checked.

    Raises BadRequest, TooLarge, UnsupportedMediaType.
    """
    allow(request.scope, limit)
    kind = request.headers.get("content-type", "")
    if kind and "json" not in kind.split(";")[0].lower():
        raise UnsupportedMediaType(
            f"Send the body as JSON, with Content-Type: application/json; this came as {kind[:100]}."
        )
    fields = await read_json(await request.body(), limit)
    if not isinstance(fields, dict):
        raise BadRequest.field("body", "must be an object")
    return cast("dict[str, Any]", fields)


def parse(body: bytes) -> Any:
    """The same without yielding to the event loop, for small bodies. Raises BadRequest."""
    return json_values.read(body, "body", VALUES_MAX)


def _pieces(body: bytes) -> int:
    """An upper bound of the number of values: counts separators, including those inside strings."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


async def _few(body: bytes, values_max: int) -> bool:
    """Whether the body has at most `values_max` values, counted without separators inside strings."""
    count = 0
    for number, found in enumerate(_BRACES.finditer(body)):
        count += body[found.start()] != 0x22
        if count > values_max:
            return False
        if number % json_values.STEP_VALUES == 0:
            await asyncio.sleep(0)
    return True
