"""Tools: what an agent may call. Front door."""

from stoa.tools.api import routes
from stoa.tools.factory import ToolFactory
from stoa.tools.service import Tools
from stoa.tools.types import Call, Definition, Program, Tool, ToolKind, ToolResult

__all__ = [
    "Call",
    "Definition",
    "Program",
    "Tool",
    "ToolFactory",
    "ToolKind",
    "ToolResult",
    "Tools",
    "routes",
]
