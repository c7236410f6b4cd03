"""Python code: known, and refused."""

from typing import Final

from stoa.runs.workflow.nodes.node import Node, NodeType

TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.tools.Python",
        group="tools",
        description="Python code.",
        schema=Node,
        refused="runs Python code, which this server does not do: make it an HTTP or MCP tool",
    ),
)
