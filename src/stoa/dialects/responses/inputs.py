"""Parses what a Responses request sends: items, and the files inside them. Pure."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.dialects.responses.names import our_call
from stoa.dialects.responses.summaries import BEFORE, unpacked
from stoa.kernel.errors import BadRequest

ITEMS_MAX: Final = 5_000
NO_URL: Final = "must be a data URL (data:image/png;base64,…): this server fetches nothing for its callers"
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?(;base64)?,", re.IGNORECASE)
_ROLES: Final[Mapping[str, str]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_WITHOUT_MEANING: Final = frozenset({
    "reasoning", "mcp_list_tools", "mcp_approval_request", "web_search_call", "image_generation_call",
    "code_interpreter_call", "computer_call", "item_reference",
})  # fmt: skip # a table
"""Items of earlier turns that are of no use to the models here."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture or a document inside the request. It becomes a file of the conversation."""

    name: str
    mime_type: str
    data: bytes


@dataclass(slots=True)
class Asked:
    """`items` name uploads as files whose id is `upload:<n>`. `references` are items of earlier responses that the
    request names, by their position in `items`."""

    model: str
    items: list[dict[str, Any]]
    wanted: dict[str, Any]
    echo: dict[str, Any]
    previous: str | None = None
    conversation: str | None = None
    background: bool = False
    stream: bool = False
    store: bool = True
    metadata: dict[str, Any] | None = None
    user: str | None = None
    uploads: list[Upload] = field(default_factory=list[Upload])
    references: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    @property
    def outputs(self) -> set[str]:
        """The ids of the calls whose results the request contains."""
        return {item["id"] for item in self.items if item["type"] == "result"}

    @property
    def calls(self) -> set[str]:
        return {item["id"] for item in self.items if item["type"] == "call"}


def read_input(given: Any, asked: Asked, where: str) -> None:
    """Appends the items of an `input` (or of `items`). Raises BadRequest."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise BadRequest.field(where, "is required: a string, or a list of items")
    if len(given) > ITEMS_MAX:
        raise BadRequest.field(where, f"holds {len(given)} items; at most {ITEMS_MAX} are taken")
    for index, item in enumerate(given):
        at = f"{where}[{index}]"
        if not isinstance(item, dict):
            raise BadRequest.field(at, "must be an object")
        _item(item, asked, at)


def _item(item: Mapping[str, Any], asked: Asked, at: str) -> None:
    kind = item.get("type") or ("message" if "role" in item else None)
    if not isinstance(kind, str):
        raise BadRequest.field(f"{at}.type", "is required: a string")
    match kind:
        case "message":
            asked.items.append(_message(item, asked, at))
        case "function_call":
            asked.items.append(_call(item, at))
        case "function_call_output":
            result = {"type": "result", "id": our_call(required(item, "call_id", at)), "text": _output(item, at)}
            asked.items.append(result)
        case "mcp_call":
            call = f"{item.get('id') or at}"
            asked.items.append({**_call({**item, "call_id": call}, at)})
            error = item.get("error")
            text = item.get("output") if error is None else str(error)
            asked.items.append(
                {
                    "type": "result",
                    "id": call,
                    "text": text if isinstance(text, str) else "",
                    "failed": error is not None,
                }
            )
        case "file_search_call":
            _search(item, asked, at)
        case "item_reference":
            asked.references.append((len(asked.items), required(item, "id", at)))
        case "compaction":
            if (summary := unpacked(item.get("encrypted_content"))) is not None:
                parts = [{"type": "text", "text": f"{BEFORE}\n\n{summary}"}]
                asked.items.append({"type": "message", "role": "system", "content": parts})
        case _ if kind in _WITHOUT_MEANING:
            pass
        case _:
            raise BadRequest.field(f"{at}.type", f"cannot be {str(kind)[:60]!r}: this server knows no such item")


def _message(item: Mapping[str, Any], asked: Asked, at: str) -> dict[str, Any]:
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise BadRequest.field(f"{at}.role", "must be user, assistant, system or developer")
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise BadRequest.field(f"{at}.content", "must be a string or a list of parts")
    parts = [_part(part, asked, f"{at}.content[{index}]", role) for index, part in enumerate(content)]
    if role == "user" and not any(part["type"] != "text" or part["text"].strip() for part in parts):
        raise BadRequest.field(f"{at}.content", "cannot be blank")
    return {"type": "message", "role": role, "content": parts}


def _part(part: Any, asked: Asked, at: str, role: str) -> dict[str, Any]:
    held = part if isinstance(part, dict) else {}
    match held.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": required(held, "text", at, blank=True)}
        case "refusal":
            return {"type": "text", "text": required(held, "refusal", at, blank=True)}
        case "input_image" if role == "user":
            url = held.get("image_url")
            if isinstance(url, dict):
                url = url.get("url")
            return _file(held, asked, at, url, "picture", "image_url")
        case "input_file" if role == "user":
            return _file(held, asked, at, held.get("file_data"), str(held.get("filename") or "file"), "file_data")
        case kind:
            raise BadRequest.field(f"{at}.type", f"cannot be {str(kind)[:60]!r} in a message of this role")


def _file(held: Mapping[str, Any], asked: Asked, at: str, data: Any, name: str, source: str) -> dict[str, Any]:
    given = held.get("file_id")
    if isinstance(given, str):
        try:
            return {"type": "file", "file": {"id": str(UUID(given))}}
        except ValueError:
            raise BadRequest.field(f"{at}.file_id", "is no file of this conversation") from None
    if held.get("file_url") is not None or not isinstance(data, str):
        raise BadRequest.field(f"{at}.{source}", NO_URL)
    begin = _DATA_URL.match(data)
    if begin is None or not begin[2]:
        if source == "image_url" or "://" in data[:32]:
            raise BadRequest.field(f"{at}.{source}", NO_URL)
        encoded, mime_type = data, ""
    else:
        encoded, mime_type = data[begin.end() :], begin[1] or ""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest.field(f"{at}.{source}", "holds no valid base64") from None
    fallback = "image/png" if source == "image_url" else "application/octet-stream"
    if source == "image_url":
        name = f"{name}.{(mime_type or fallback).rpartition('/')[2]}"
    asked.uploads.append(Upload(name[:200], mime_type or fallback, content))
    return {"type": "file", "file": {"id": f"upload:{len(asked.uploads) - 1}"}}


def _call(item: Mapping[str, Any], at: str) -> dict[str, Any]:
    call = our_call(required(item, "call_id", at))
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) and arguments.strip() else "{}"
    return {"type": "call", "id": call, "name": required(item, "name", at), "arguments": text}


def _output(item: Mapping[str, Any], at: str) -> str:
    output = item.get("output")
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        texts = [part.get("text") for part in output if isinstance(part, dict)]
        if len(texts) == len(output) and all(isinstance(text, str) for text in texts):
            return "\n\n".join(str(text) for text in texts)
    raise BadRequest.field(f"{at}.output", "must be a string or a list of texts")


def _search(item: Mapping[str, Any], asked: Asked, at: str) -> None:
    """An earlier search that the client sends back. The model gets its results where the item contains them."""
    found = item.get("results")
    if not isinstance(found, list) or not found:
        return
    queries = item.get("queries")
    query = queries[0] if isinstance(queries, list) and queries else ""
    call = f"{item.get('id') or at}"
    arguments = orjson.dumps({"query": str(query)}).decode()
    asked.items.append({"type": "call", "id": call, "name": "search_knowledge", "arguments": arguments})
    asked.items.append({"type": "result", "id": call, "text": orjson.dumps(found).decode()})


def required(item: Mapping[str, Any], name: str, at: str, *, blank: bool = False) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not (blank or value.strip()):
        raise BadRequest.field(f"{at}.{name}", "is required: a string")
    return value
