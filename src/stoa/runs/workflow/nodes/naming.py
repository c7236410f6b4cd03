"""Finds the project's tool for a flow's tool: by the node's name, converted to a valid tool name. Pure."""

import re
from collections.abc import Sequence
from typing import Final

_MCP: Final = ("dynamiq.nodes.tools.MCPServer", "dynamiq.nodes.tools.MCPTool")
NAME_CHARACTERS_MAX: Final = 64
_JOIN: Final = "__"
"""The separator between an MCP server's name and its tool's, in names of a project's tools."""


def tool_name(title: str) -> str:
    """`Cat facts!` → `Cat_facts`."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", title).strip("_")[:NAME_CHARACTERS_MAX] or "tool"


def tools_of(kind: str, title: str, include_tools: Sequence[str], server: str | None) -> Sequence[str]:
    """The project's tools that a tool of a flow refers to."""
    if kind == _MCP[1] and server:
        return [f"{tool_name(server)}{_JOIN}{title}"]
    if kind == _MCP[0] and include_tools:
        return [f"{tool_name(title)}{_JOIN}{one}" for one in include_tools]
    return [tool_name(title)]
