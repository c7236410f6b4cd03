"""Tools: what an agent may call. The public interface."""

from stoa.tools.api import routes
from stoa.tools.factory import ToolFactory
from stoa.tools.providers.code import CodeTool
from stoa.tools.sandbox import Code, Sandbox
from stoa.tools.service import Tools
from stoa.tools.types import Call, Definition, Program, Tool, ToolKind, ToolResult

__all__ = [
    "Call",
    "Code",
    "CodeTool",
    "Definition",
    "Program",
    "Sandbox",
    "Tool",
    "ToolFactory",
    "ToolKind",
    "ToolResult",
    "Tools",
    "routes",
]
