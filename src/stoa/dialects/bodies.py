"""Bodies of requests in dialects whose fields are not ours to list."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request

from stoa.http.bodies import BodyLimit, allow, read_json
from stoa.kernel.errors import BadRequest, UnsupportedMediaType

BODY_LIMIT: Final = BodyLimit(20 * 1024 * 1024, 150_000)
"""Room for some pictures as data URLs."""


async def read_fields(request: Request) -> dict[str, Any]:
    """The body, once the key was checked. Raises BadRequest, TooLarge, UnsupportedMediaType."""
    allow(request.scope, BODY_LIMIT)
    kind = request.headers.get("content-type", "")
    if kind and "json" not in kind.split(";")[0].lower():
        raise UnsupportedMediaType(
            f"Send the body as JSON, with Content-Type: application/json; this came as {kind[:100]}."
        )
    fields = await read_json(await request.body(), BODY_LIMIT)
    if not isinstance(fields, dict):
        raise BadRequest.field("body", "must be an object")
    return fields


def documented(example: Mapping[str, Any]) -> dict[str, Any]:
    """How the OpenAPI document shows such a body."""
    content = {
        "schema": {"type": "object", "description": "As the dialect's own documents describe it."},
        "examples": {"example": {"value": example}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
