"""Request bodies of dialects: other specifications define their fields."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from stoa.http.bodies import CHAT_LIMIT, read_object


async def read_fields(request: Request) -> dict[str, Any]:
    """Reads the body after the key was checked. Raises BadRequest, TooLarge, UnsupportedMediaType."""
    return await read_object(request, CHAT_LIMIT)


def documented(example: Mapping[str, Any]) -> dict[str, Any]:
    """Describes such a body for the OpenAPI document."""
    content = {
        "schema": {"type": "object", "description": "As the dialect's own documents describe it."},
        "examples": {"example": {"value": example}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
