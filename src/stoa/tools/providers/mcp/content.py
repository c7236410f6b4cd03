"""What an MCP server gives back, as the text that a model reads. Pure."""

from typing import Any, Final

import mcp_types as types
import orjson

from stoa.tools.types import Offer, ToolResult

TOOLS_MAX: Final = 256
DESCRIPTION_CHARACTERS_MAX: Final = 4_000
SCHEMA_BYTES_MAX: Final = 64 * 1024
LISTING_BYTES_MAX: Final = 1024 * 1024
"""Of all tools of a server: they are stored with its definition, and read with it."""


def result_of(result: types.CallToolResult) -> ToolResult:
    """Text as it is; what is no text as a line that says what it was; structured content where the text does not say the same."""
    parts = [_part(block) for block in result.content]
    if result.structured_content is not None and not _said(result.structured_content, result.content):
        parts.append(orjson.dumps(result.structured_content, default=str).decode())
    text = "\n".join(part for part in parts if part)
    if result.is_error:
        return ToolResult(text or "The tool failed and did not say why.", "tool_failed")
    return ToolResult(text)


def _part(block: Any) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type}, {block.mime_type}, {_bytes(block.data)} bytes: not shown]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return f"[resource {resource.uri}]\n{resource.text}"
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            return f"[resource {resource.uri}, {resource.mime_type or 'of unknown type'}, {_bytes(resource.blob)} bytes: not shown]"
        case types.ResourceLink():
            about = ": ".join(one for one in (block.title or block.name, block.description) if one)
            return f"[link to resource {block.uri}{f', {block.mime_type}' if block.mime_type else ''}] {about}"
        case _:
            return f"[{getattr(block, 'type', 'content')}: not shown]"


def _bytes(base64: str) -> int:
    return len(base64) * 3 // 4


def _said(structured: Any, content: list[Any]) -> bool:
    """Servers are asked to say structured content as JSON text too; the SDK's wrap what is no object as `{"result": …}`."""
    result = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
    for block in content:
        if isinstance(block, types.TextContent):
            if block.text == result:
                return True
            try:
                if orjson.loads(block.text) in (structured, result):
                    return True
            except orjson.JSONDecodeError:
                continue
    return False


def offer_of(tool: types.Tool) -> tuple[Offer | None, str | None]:
    """What a server says of a tool, or why it cannot be offered."""
    try:
        schema = orjson.dumps(tool.input_schema or {"type": "object"})
        schema = schema.replace(b"\\u0000", b"\\ufffd")  # The database cannot hold NUL.
    except TypeError as error:
        return None, str(error)
    parameters = orjson.loads(schema)
    if len(schema) > SCHEMA_BYTES_MAX:
        return None, f"its schema is over {SCHEMA_BYTES_MAX} bytes"
    if parameters.get("type", "object") != "object":
        return None, "its schema is no object's"
    if not tool.name.strip() or len(tool.name) > 200 or "\0" in tool.name:
        return None, "its name is blank or longer than 200 characters"
    words = (tool.description or tool.title or "").replace("\0", "\ufffd")
    hints = tool.annotations
    return Offer(
        tool.name,
        words[:DESCRIPTION_CHARACTERS_MAX],
        {"type": "object", **parameters},
        hints.read_only_hint if hints else None,
        hints.idempotent_hint if hints else None,
        hints.destructive_hint if hints else None,
    ), None


def size_of(offer: Offer) -> int:
    return len(offer.description) + len(orjson.dumps(offer.parameters))
