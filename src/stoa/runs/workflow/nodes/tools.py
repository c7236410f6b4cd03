"""Tools as nodes. Each call is entered in the ledger of its run, like an agent's calls."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Final, Protocol
from uuid import uuid5

import orjson
from pydantic import Field

from stoa.runs.agent.checkpoint import CallState
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes.naming import tools_of
from stoa.runs.workflow.nodes.node import Inputs, Needs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.task import Task
from stoa.tools import Tool

_AGAIN: Final = frozenset({"tool_timeout", "tool_unreachable", "tool_failed", "tool_unavailable"})
"""Failures that may be temporary."""
_DOUBTFUL: Final = frozenset({"tool_timeout", "tool_unreachable"})
"""Failures after which it is unknown whether the call was made."""


class ToolNode(Node):
    description: Annotated[str, Field(max_length=20_000)] | None = None

    @property
    def tool(self) -> str:
        return tools_of(self.type, self.title, (), None)[0]

    @property
    def may_ask_first(self) -> bool:
        return True

    def needs(self) -> Needs:
        return Needs(tools=[self.tool])


class McpNode(ToolNode):
    """`include_tools` names the one tool that the node calls."""

    include_tools: Annotated[Sequence[str], Field(max_length=256)] = ()
    server: Annotated[str, Field(max_length=200)] | None = None

    @property
    def tool(self) -> str:
        return tools_of(self.type, self.title, self.include_tools, self.server)[0]

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.type == MCP_SERVER.name and len(self.include_tools) != 1:
            yield "include_tools", "must name one tool: a node makes one call; an agent may have the whole server"
        if self.type == MCP_TOOL.name and not self.server:
            yield "server", "must name the MCP server (a tool of the project) that offers the tool"


def arguments_of(tool: Tool | None, inputs: Inputs) -> Mapping[str, Any]:
    """The transformer's result; without one, the run's fields that are parameters of the tool."""
    properties = tool.parameters.get("properties") if tool is not None else None
    if inputs.own is not inputs.values and isinstance(properties, Mapping):
        return {name: value for name, value in inputs.own.items() if name in properties}
    return dict(inputs.own)


class CallingNode(Protocol):
    """A node whose work is one tool call."""

    @property
    def tool(self) -> str: ...

    @property
    def asks_approval(self) -> bool: ...


async def _work(node: ToolNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    arguments = arguments_of(task.ports.tools.get(node.tool), inputs)
    async with aclosing(called(node, arguments, task)) as steps:
        async for step in steps:
            yield step


async def called(node: CallingNode, fields: Mapping[str, Any], task: Task) -> AsyncGenerator[Step | Produced]:
    """Calls the node's tool. If the outcome of an earlier attempt's call is unknown, that call is repeated with the
    same idempotency key. Raises NodeFailed."""
    tool = task.ports.tools.get(node.tool)
    call = task.state.call
    if call is None or (call.settled and not _unanswered(call)):
        arguments = orjson.dumps(fields).decode()
        call = CallState(str(uuid5(task.run.id, f"{task.path}/{task.state.attempts}")), node.tool, arguments)
    elif call.settled:
        call = replace(call, error=None, request_id=None)
    task.state.call = call
    agent = Agent(tools=[node.tool], approvals=frozenset([node.tool] if node.asks_approval else []))
    async with aclosing(task.execute(call, agent)) as steps:
        async for step in steps:
            yield step
    if call.error is not None:
        raise NodeFailed(call.error["code"], call.error["message"], retryable=repeatable(call, tool))
    if call.result is not None:
        yield Produced({"content": parsed(call.result)})


def repeatable(call: CallState, tool: Tool | None) -> bool:
    """Whether another attempt is allowed: never after a call that may have been made, unless its tool is idempotent."""
    if call.error is None:
        return tool is not None and (tool.idempotent or not call.begun)
    code = call.error["code"]
    return code in _AGAIN and (code not in _DOUBTFUL or (tool is not None and tool.idempotent))


def _unanswered(call: CallState) -> bool:
    return call.error is not None and call.error["code"] in _DOUBTFUL


def parsed(text: str) -> Any:
    """A tool's result in a form that paths can read: parsed JSON where it is an object or a list."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


MCP_SERVER: Final = NodeType(
    name="dynamiq.nodes.tools.MCPServer",
    group="tools",
    description="An MCP server of the project (POST /v1/tools), by the node's name: for an agent's tools, or one call.",
    schema=McpNode,
    work=_work,
)
MCP_TOOL: Final = NodeType(
    name="dynamiq.nodes.tools.MCPTool",
    group="tools",
    description="A tool of an MCP server of the project; `server` is the server's name.",
    schema=McpNode,
    work=_work,
)
TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.tools.HttpApiCall",
        group="tools",
        description="An HTTP tool of the project (POST /v1/tools), by the node's name.",
        schema=ToolNode,
        work=_work,
    ),
    MCP_SERVER,
    MCP_TOOL,
)
