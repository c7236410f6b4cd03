"""The tools of a Responses request: the client's own, searches of knowledge bases, tools of this server. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from stoa.dialects.responses.inputs import Asked, required
from stoa.kernel.errors import BadRequest

TOOLS_MAX: Final = 128
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_RESERVED: Final = frozenset({"ask_human", "delegate", "search_knowledge"})


def read_tools(fields: Mapping[str, Any], asked: Asked) -> None:
    given = fields.get("tools")
    if given is None:
        return
    if not isinstance(given, list) or len(given) > TOOLS_MAX:
        raise BadRequest.field("tools", f"must be a list of at most {TOOLS_MAX} tools")
    functions: list[dict[str, Any]] = []
    tools: list[str] = []
    approvals: list[str] = []
    bases: list[str] = []
    for index, tool in enumerate(given):
        held, at = tool if isinstance(tool, dict) else {}, f"tools[{index}]"
        match held.get("type"):
            case "function":
                functions.append(_function(held, at, functions))
            case "file_search":
                bases += _bases(held, at)
            case "mcp":
                names = _server_tools(held, at)
                tools += names
                if held.get("require_approval") == "always":
                    approvals += names
            case kind:
                raise BadRequest.field(
                    f"{at}.type",
                    f"cannot be {str(kind)[:60]!r}; send function, file_search, or mcp with the name of a tool of this"
                    " project as server_label",
                )
    if fields.get("tool_choice") == "none":
        return
    parts = {"client_tools": functions, "tools": tools, "approvals": approvals, "knowledge_bases": bases}
    asked.wanted |= {name: list(value) for name, value in parts.items() if value}


def _function(held: Mapping[str, Any], at: str, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    name = required(held, "name", at)
    if not _NAME.fullmatch(name):
        raise BadRequest.field(f"{at}.name", "must be 1 to 128 letters, digits, _ or -")
    if name in _RESERVED or any(one["name"] == name for one in others):
        raise BadRequest.field(f"{at}.name", f"is {name!r}, which another tool has already")
    parameters = held.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest.field(f"{at}.parameters", "must be a JSON schema")
    description = held.get("description")
    return {
        "name": name,
        "description": description if isinstance(description, str) else "",
        "parameters": parameters or {"type": "object", "properties": {}},
    }


def _bases(held: Mapping[str, Any], at: str) -> list[str]:
    given = held.get("vector_store_ids")
    if not isinstance(given, list) or not given:
        raise BadRequest.field(f"{at}.vector_store_ids", "is required: the ids of knowledge bases")
    if held.get("filters") is not None:
        raise BadRequest.field(f"{at}.filters", "is not taken here: search the base yourself, or use a base for each")
    found: list[str] = []
    for index, one in enumerate(given):
        try:
            found.append(str(UUID(str(one))))
        except ValueError:
            raise BadRequest.field(f"{at}.vector_store_ids[{index}]", "is no knowledge base of this project") from None
    return found


def _server_tools(held: Mapping[str, Any], at: str) -> list[str]:
    if held.get("server_url") or held.get("connector_id"):
        raise BadRequest.field(
            f"{at}.server_url", "is not taken: make the server a tool of this project (POST /v1/tools) and name it here"
        )
    label = required(held, "server_label", at)
    allowed = held.get("allowed_tools")
    if isinstance(allowed, dict):
        allowed = allowed.get("tool_names")
    if allowed is None:
        return [label]
    if not isinstance(allowed, list):
        raise BadRequest.field(f"{at}.allowed_tools", "must be a list of names")
    return [f"{label}__{name}" for name in allowed]


def choice_of(fields: Mapping[str, Any], asked: Asked) -> Any:
    """`tool_choice` in the format of chat completions; None leaves it to the model."""
    choice = fields.get("tool_choice")
    if choice in (None, "auto", "none"):
        return None
    if choice == "required":
        return choice if asked.wanted.keys() & {"client_tools", "tools", "knowledge_bases"} else None
    if isinstance(choice, dict):
        match choice.get("type"):
            case "function":
                return {"type": "function", "function": {"name": required(choice, "name", "tool_choice")}}
            case "file_search":
                return {"type": "function", "function": {"name": "search_knowledge"}}
            case "allowed_tools":
                _narrow(choice, asked)
                return "required" if choice.get("mode") == "required" else None
            case _:
                pass
    raise BadRequest.field(
        "tool_choice", "must be auto, none, required, or name a function, file_search or allowed_tools"
    )


def _narrow(choice: Mapping[str, Any], asked: Asked) -> None:
    """Offers only these tools to the model; the response still lists all of them."""
    given = choice.get("tools")
    allowed = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    names = {str(one.get("name")) for one in allowed if one.get("type") == "function"}
    labels = {str(one.get("server_label")) for one in allowed if one.get("type") == "mcp"}
    asked.wanted["client_tools"] = [one for one in asked.wanted.get("client_tools", ()) if one["name"] in names]
    asked.wanted["tools"] = [one for one in asked.wanted.get("tools", ()) if one.partition("__")[0] in labels]
    if not any(one.get("type") == "file_search" for one in allowed):
        asked.wanted.pop("knowledge_bases", None)
