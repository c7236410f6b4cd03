"""A question to a person: the run is paused until there is an answer."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Annotated, Final, Literal
from uuid import uuid5

import orjson
from pydantic import Field

from stoa.runs.agent import builtin
from stoa.runs.agent.checkpoint import CallState
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.steps import Step
from stoa.runs.workflow import templates
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType, Produced, fill
from stoa.runs.workflow.task import Task


class FeedbackNode(Node):
    """`msg_template` may hold `{{field}}`, which becomes the node's input field of that name; `options` are answers to
    choose from."""

    msg_template: Annotated[str, Field(max_length=20_000)] = "{{input}}"
    action: Literal["ask", "info"] = "ask"
    options: Annotated[Sequence[str], Field(max_length=64)] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if why := templates.problem(self.msg_template):
            yield "msg_template", why


async def _work(node: FeedbackNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    question = fill(node.msg_template, {**inputs.values, **inputs.own})
    if node.action == "info":
        yield Produced({"content": question})
        return
    call = task.state.call
    if call is None or call.settled:
        arguments = {"question": question, "options": list(node.options)}
        call_id = str(uuid5(task.run.id, f"{task.path}/{task.state.attempts}"))
        call = CallState(call_id, builtin.ASK, orjson.dumps(arguments).decode())
    task.state.call = call
    async with aclosing(task.execute(call, Agent(human_feedback=True))) as steps:
        async for step in steps:
            yield step
    if call.error is not None:
        raise NodeFailed(call.error["code"], call.error["message"])
    if call.result is not None:
        yield Produced({"content": call.result})


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.tools.HumanFeedbackTool",
        group="tools",
        description="Asks a person; the run is paused until there is an answer.",
        schema=FeedbackNode,
        work=_work,
    ),
)
