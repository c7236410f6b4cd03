"""Tools: what an agent may call. Front door."""

from stoa.tools.types import Call, Tool, ToolKind, ToolResult

__all__ = ["Call", "Tool", "ToolKind", "ToolResult"]
