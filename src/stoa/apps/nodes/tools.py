"""Tools as nodes: each call is entered in the ledger of its run, as a call by an agent is."""

from typing import Annotated, Final

from pydantic import Field

from stoa.apps.nodes.node import Node, NodeType


class ToolNode(Node):
    description: Annotated[str, Field(max_length=20_000)] | None = None


class FeedbackNode(ToolNode):
    """`msg_template` may hold `{{field}}`, which becomes the node's input field of that name."""

    msg_template: Annotated[str, Field(max_length=20_000)] = "{{input}}"


HTTP_API_CALL: Final = NodeType(
    "dynamiq.nodes.tools.HttpApiCall",
    "tools",
    "HttpApiCall",
    "An HTTP tool of the project (POST /v1/tools), by the node's name.",
    ToolNode,
)
MCP_SERVER: Final = NodeType(
    "dynamiq.nodes.tools.MCPServer",
    "tools",
    "MCPServer",
    "An MCP server of the project (POST /v1/tools), by the node's name; for an agent's tools.",
    ToolNode,
)
HUMAN_FEEDBACK: Final = NodeType(
    "dynamiq.nodes.tools.HumanFeedbackTool",
    "tools",
    "HumanFeedbackTool",
    "Asks a person; the run is paused until there is an answer.",
    FeedbackNode,
)
PYTHON: Final = NodeType(
    "dynamiq.nodes.tools.Python",
    "tools",
    "Python",
    "Python code.",
    ToolNode,
    refused="runs Python code, which this server does not do: make it an HTTP or MCP tool",
)
