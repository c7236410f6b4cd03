"""Bodies of requests in dialects whose fields are not ours to list."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from stoa.http.bodies import CHAT_LIMIT, read_object


async def read_fields(request: Request) -> dict[str, Any]:
    """The body, once the key was checked. Raises BadRequest, TooLarge, UnsupportedMediaType."""
    return await read_object(request, CHAT_LIMIT)


def documented(example: Mapping[str, Any]) -> dict[str, Any]:
    """How the OpenAPI document shows such a body."""
    content = {
        "schema": {"type": "object", "description": "As the dialect's own documents describe it."},
        "examples": {"example": {"value": example}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
