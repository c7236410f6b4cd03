"""The registry of node types: what `GET /v1/agent-builder/nodes` shows and what a release checks against."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from stoa.apps.nodes.agent import AGENT, AgentNode, AgentTool
from stoa.apps.nodes.choice import CHOICE, ChoiceNode
from stoa.apps.nodes.input import INPUT, InputNode
from stoa.apps.nodes.llm import LLMS, Llm, LlmNode
from stoa.apps.nodes.map import MAP, MapNode
from stoa.apps.nodes.node import Condition, Depends, ErrorHandling, Node, NodeType, Transformer
from stoa.apps.nodes.output import OUTPUT, OutputNode
from stoa.apps.nodes.retriever import RETRIEVERS, RetrieverNode
from stoa.apps.nodes.tools import HTTP_API_CALL, HUMAN_FEEDBACK, MCP_SERVER, PYTHON, FeedbackNode, ToolNode

NODE_TYPES: Final[Mapping[str, NodeType]] = MappingProxyType(
    {
        one.type: one
        for one in (
            INPUT,
            OUTPUT,
            AGENT,
            *LLMS,
            HTTP_API_CALL,
            MCP_SERVER,
            HUMAN_FEEDBACK,
            PYTHON,
            *RETRIEVERS,
            CHOICE,
            MAP,
        )
    }
)
GROUPS: Final = tuple(sorted({one.group for one in NODE_TYPES.values()}))

__all__ = [
    "AGENT",
    "CHOICE",
    "GROUPS",
    "HUMAN_FEEDBACK",
    "INPUT",
    "MAP",
    "MCP_SERVER",
    "NODE_TYPES",
    "OUTPUT",
    "AgentNode",
    "AgentTool",
    "ChoiceNode",
    "Condition",
    "Depends",
    "ErrorHandling",
    "FeedbackNode",
    "InputNode",
    "Llm",
    "LlmNode",
    "MapNode",
    "Node",
    "NodeType",
    "OutputNode",
    "RetrieverNode",
    "ToolNode",
    "Transformer",
]
