"""Converts an MCP server's result into text for the model. Pure.

Many servers deviate from the protocol. What can be read is read; what cannot is reported without affecting the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stoa.tools.types import Offer, ToolResult

TOOLS_MAX: Final = 256
DESCRIPTION_CHARACTERS_MAX: Final = 4_000
SCHEMA_BYTES_MAX: Final = 64 * 1024
LISTING_BYTES_MAX: Final = 1024 * 1024
"""Of all tools of a server: they are stored with its definition, and read with it."""


_KNOWN: Final = frozenset({"content", "structuredContent", "toolResult"})
"""A result without any of these is shown as it is, so that nothing is lost."""
_ASIDE: Final = frozenset({"_meta", "isError", "is_error", "resultType", "ttlMs", "cacheScope"})


# --- results --------------------------------------------------------------------------------------------------------
def result_of(result: Mapping[str, Any]) -> ToolResult:
    """Text unchanged, other content as a line with its type, structured content unless it equals the text."""
    blocks = _blocks(result.get("content"))
    parts = [_part(block) for block in blocks]
    structured = result.get("structuredContent", result.get("toolResult"))
    if structured is not None and not _said(structured, blocks):
        parts.append(_json(structured))
    if not _KNOWN & result.keys() and (rest := {name: result[name] for name in result if name not in _ASIDE}):
        parts.append(_json(rest))
    text = "\n".join(part for part in parts if part)
    failed = any(isinstance(block, dict) and block.get("type") == "error" for block in blocks)  # Of some frameworks.
    if failed or _true(result.get("isError", result.get("is_error"))):
        return ToolResult(text or "The tool failed and did not say why.", "tool_failed")
    return ToolResult(text)


def _blocks(content: Any) -> Sequence[Any]:
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


def _part(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, dict):
        return _json(block) if block is not None else ""
    kind = _text(block.get("type"))
    match kind:
        case "text":
            return _text(block.get("text"))
        case "image" | "audio":
            return f"[{kind}, {_mime_type(block)}, {_bytes(block.get('data'))} bytes: not shown]"
        case "resource" if isinstance(block.get("resource"), dict):
            return _resource(block["resource"])
        case "resource_link":
            named = (_text(block.get("title")) or _text(block.get("name")), _text(block.get("description")))
            mime_type = f", {_text(block.get('mimeType'))}" if block.get("mimeType") else ""
            return f"[link to resource {_text(block.get('uri'))}{mime_type}] {': '.join(one for one in named if one)}"
        case _:
            return _text(block.get("text")) or f"[{kind or 'content'}: not shown]"


def _true(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes")


def _resource(resource: Mapping[str, Any]) -> str:
    uri = _text(resource.get("uri"))
    if isinstance(resource.get("text"), str):
        return f"[resource {uri}]\n{resource['text']}"
    return f"[resource {uri}, {_mime_type(resource)}, {_bytes(resource.get('blob'))} bytes: not shown]"


def _mime_type(block: Mapping[str, Any]) -> str:
    return _text(block.get("mimeType")) or "of unknown type"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _bytes(base64: Any) -> int:
    return len(base64) * 3 // 4 if isinstance(base64, str) else 0


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # Nested deeper than the library supports.
        return "[content that is nested too deeply: not shown]"


def _said(structured: Any, blocks: Sequence[Any]) -> bool:
    """Whether the text equals the structured content: servers should send both; the SDK wraps non-objects as
    `{"result": …}`.
    """
    result = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
    for block in blocks:
        text = block.get("text") if isinstance(block, dict) else None
        if not isinstance(text, str):
            continue
        if text == result:
            return True
        try:
            if orjson.loads(text) in (structured, result):
                return True
        except orjson.JSONDecodeError:
            continue
    return False


# --- listings -------------------------------------------------------------------------------------------------------
def offer_of(tool: Any) -> tuple[Offer | None, str | None]:
    """The offered tool, or why it cannot be offered."""
    if not isinstance(tool, dict):
        return None, "it is no object"
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or "\0" in name or not _storable(name):
        return None, "its name is missing, blank or longer than 200 characters"
    given = tool.get("inputSchema")
    if given is None or given == []:  # Many servers describe a tool without arguments so; [] is PHP's empty object.
        given = {"type": "object"}
    if not isinstance(given, dict):
        return None, "its inputSchema is no object"
    try:
        schema = orjson.dumps(given).replace(b"\\u0000", b"\\ufffd")  # The database cannot hold NUL.
    except TypeError as error:
        return None, f"its inputSchema cannot be read: {error}"
    if len(schema) > SCHEMA_BYTES_MAX:
        return None, f"its schema is over {SCHEMA_BYTES_MAX} bytes"
    parameters = orjson.loads(schema)
    kinds = parameters.get("type") or "object"
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        return None, "its schema is no object's"
    words = (_text(tool.get("description")) or _text(tool.get("title"))).replace("\0", "\ufffd")
    given_hints = tool.get("annotations")
    hints: Mapping[str, Any] = given_hints if isinstance(given_hints, dict) else {}
    return Offer(
        name,
        words[:DESCRIPTION_CHARACTERS_MAX].encode("utf-8", "replace").decode(),
        {**parameters, "type": "object"},
        _hint(hints, "readOnlyHint"),
        _hint(hints, "idempotentHint"),
        _hint(hints, "destructiveHint"),
    ), None


def named(tool: Any) -> str:
    """The name of an unusable tool in the report."""
    name = tool.get("name") if isinstance(tool, dict) else None
    return repr(name[:100]) if isinstance(name, str) else "a tool without a name"


def _hint(hints: Mapping[str, Any], name: str) -> bool | None:
    """A hint that is not a boolean is ignored."""
    value = hints.get(name)
    return value if isinstance(value, bool) else None


def _storable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def size_of(offer: Offer) -> int:
    return len(offer.description) + len(orjson.dumps(offer.parameters))
