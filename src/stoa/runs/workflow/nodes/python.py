"""Python code: a function `run` that is called in the operator's sandbox. Without a sandbox, a flow with code is
refused."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Final

from pydantic import Field

from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes import tools
from stoa.runs.workflow.nodes.naming import tool_name
from stoa.runs.workflow.nodes.node import CodeTool, Inputs, Needs, Node, NodeType, Produced
from stoa.runs.workflow.task import Task

CODE_CHARACTERS_MAX: Final = 200_000


class PythonNode(Node):
    code: Annotated[str, Field(min_length=1, max_length=CODE_CHARACTERS_MAX)]
    description: Annotated[str, Field(max_length=20_000)] | None = None
    use_multiple_params: bool = False

    @property
    def may_ask_first(self) -> bool:
        return True

    @property
    def tool(self) -> str:
        return tool_name(self.title)

    def needs(self) -> Needs:
        handling = self.error_handling
        seconds = handling.timeout_seconds if handling is not None else None
        about = self.description or self.title
        return Needs(
            code=[CodeTool(self.tool, about, self.code, self.use_multiple_params, whole=True, seconds=seconds)]
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if why := problem(self.code):
            yield "code", why


def problem(code: str) -> str | None:
    """Why a text is not valid code, as far as can be told without running it; the sentence continues after the field's
    name."""
    return None if "run" in code else "defines no function run, which is what is called"


async def _work(node: PythonNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    async with aclosing(tools.called(node, inputs.own, task)) as steps:
        async for step in steps:
            yield Produced(_given(step.output)) if isinstance(step, Produced) else step


def _given(output: Any) -> Any:
    """The object with `content` that the code returned."""
    given = output["content"]
    return given if isinstance(given, Mapping) else output


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.tools.Python",
        group="tools",
        description="Python code: its function `run` is given the node's fields, in the operator's sandbox.",
        schema=PythonNode,
        work=_work,
        sandboxed=True,
    ),
)
