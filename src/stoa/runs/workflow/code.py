"""Python code in a graph: the tools that it defines, and names that would be ambiguous. Pure."""

from collections.abc import Mapping

from stoa.runs.workflow.graph import Graph
from stoa.runs.workflow.nodes.node import CodeTool


def code_of(graph: Graph) -> Mapping[str, CodeTool]:
    """The tools that are defined by code of the flow, by name."""
    return {one.name: one for needs in graph.needs().values() for one in needs.code}


def code_problems(graph: Graph, *, sandbox: bool) -> Mapping[str, str]:
    """Why the code cannot run here, by node."""
    problems: dict[str, str] = {}
    by_name: dict[str, CodeTool] = {}
    named = {name for needs in graph.needs().values() for name in needs.tools}
    for one in graph.everywhere():
        for code in one.node.needs().code:
            path = f"flow.nodes.{one.key}"
            if not sandbox:
                problems[path] = (
                    f"(node {one.node.title!r}) runs Python code, which this server does not do: its operator has set"
                    " no sandbox (STOA_SANDBOX). Make it an HTTP or MCP tool"
                )
            elif by_name.setdefault(code.name, code) != code or code.name in named:
                problems[path] = (
                    f"(node {one.node.title!r}) has code named {code.name!r}, as another tool of the flow: give one of"
                    " them another name"
                )
    return problems
