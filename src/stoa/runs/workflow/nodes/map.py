"""Runs one node for each item of its field `input`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.task import Task

ITEMS_MAX: Final = 1_000


class MapNode(Node):
    """`behavior: raise` lets the Map fail with its first item; `return` gives null for an item that failed."""

    node: Mapping[str, Any]
    max_workers: Annotated[int, Field(ge=1, le=64)] = 1
    behavior: Literal["raise", "return"] = "return"


async def _work(node: MapNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    items = inputs.own.get("input")
    if not isinstance(items, list):
        raise NodeFailed("input_invalid", "its field input must be a list")
    if len(items) > ITEMS_MAX:
        raise NodeFailed("input_invalid", f"its field input holds {len(items)} items; at most {ITEMS_MAX} are run")
    stop = node.behavior == "raise"
    async with aclosing(task.each(items, node.max_workers, stop_at_failure=stop)) as steps:
        async for step in steps:
            yield step
    ended = task.items(len(items))
    failed = next((index for index, one in enumerate(ended) if one is not None and one.status == "failed"), None)
    if stop and failed is not None:
        error = (ended[failed] or task.state).error or {}
        raise NodeFailed("item_failed", f"item {failed} failed: {error.get('message', '')}")
    if all(one is not None and one.ended for one in ended):
        yield Produced({"output": [one.output if one is not None else None for one in ended]})


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.operators.Map",
        group="operators",
        description="Runs its node once for each item of the list `input`; gives the list `output`, in its order.",
        schema=MapNode,
        work=_work,
    ),
)
