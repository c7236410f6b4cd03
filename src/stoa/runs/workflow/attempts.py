"""The attempts of a node: timeouts, retries, and outcomes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import orjson

from stoa.events import Event, EventType
from stoa.gateway import ModelError
from stoa.kernel.errors import AppError, DatabaseUnavailable
from stoa.kernel.storable import as_storable, as_storable_value
from stoa.memory import MemoryAddition
from stoa.runs.agent.steps import Checkpoint, RunStopped, Step
from stoa.runs.workflow.graph import GraphNode
from stoa.runs.workflow.nodes.node import ErrorHandling, Inputs, NodeFailed, Produced
from stoa.runs.workflow.task import Task
from stoa.runs.workflow.templates import as_text

OUTPUT_BYTES_MAX: Final = 1024 * 1024
"""The limit of one node's output, as JSON: it is part of an event and of the checkpoint."""
RETRY_SECONDS_MAX: Final = 3600.0
_USUAL: Final = ErrorHandling()
Finish: TypeAlias = Callable[[GraphNode, Any], Awaitable[Any]]
"""(node, output) → the output as it is stored. Raises NodeFailed."""


async def attempted(
    one: GraphNode, inputs: Inputs, task: Task, head: Mapping[str, Any], finish: Finish
) -> AsyncGenerator[Step]:
    """The node's steps, attempt after attempt, until it has completed, failed, or waits for a person."""
    state, handling = task.state, one.node.error_handling or _USUAL
    if state.status != "running":  # Otherwise it continues, after a pause or on another node of the cluster.
        state.status, state.attempts = "running", state.attempts + 1
        yield [Event(EventType.NODE_STARTED, head)]
    while True:
        try:
            async with aclosing(_attempt(one, inputs, task, handling.timeout_seconds)) as steps:
                produced: Produced | None = None
                async for step in steps:
                    if isinstance(step, Produced):
                        produced = step
                        break
                    yield _kept(step, task)
            if produced is None:
                return
            output = await finish(one, produced.output)
        except DatabaseUnavailable:
            raise
        except (NodeFailed, ModelError, RunStopped, AppError) as error:
            failure = _failure(error)
        else:
            yield completed(task, head, output, [produced.remember] if produced.remember else ())
            return
        if not failure.retryable or state.attempts > handling.max_retries:
            yield failed(task, head, failure)
            return
        yield _again(task, head, failure)
        await task.ports.clock.sleep(wait_seconds(handling, state.attempts - 1))


def wait_seconds(handling: ErrorHandling, attempt: int) -> float:
    """The wait after attempt number `attempt` (the first is 1)."""
    growth = min(handling.backoff_rate ** (attempt - 1), RETRY_SECONDS_MAX)
    return min(handling.retry_interval_seconds * growth, RETRY_SECONDS_MAX)


async def _attempt(
    one: GraphNode, inputs: Inputs, task: Task, seconds: float | None
) -> AsyncGenerator[Step | Produced]:
    """One attempt. Only the time in which the node works counts towards its timeout, not the time in which its steps
    are stored."""
    assert one.type.work is not None, "it is a node that works"
    left, clock = seconds, task.ports.clock
    async with aclosing(one.type.work(one.node, inputs, task)) as steps:
        while True:
            began = clock.now()
            try:
                step = await clock.within(left, anext(steps))
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if seconds is None:
                    raise
                raise _timed_out(task, seconds) from error
            if left is not None:
                left = max(left - (clock.now() - began), 0.001)
            yield step


def _timed_out(task: Task, seconds: float) -> NodeFailed:
    """A call that was interrupted may have been made: it is repeated only where its tool is idempotent."""
    call = task.state.call
    doubtful = call is not None and call.begun and not call.settled
    tool = task.ports.tools.get(call.name) if call is not None else None
    retryable = not doubtful or (tool is not None and tool.idempotent)
    said = f"it took longer than {seconds:g} seconds"
    if doubtful and not retryable:
        said += "; nobody knows whether its call was made, so it is not made again"
    return NodeFailed("node_timeout", said, retryable=retryable)


def _failure(error: NodeFailed | ModelError | RunStopped | AppError) -> NodeFailed:
    if isinstance(error, NodeFailed):
        return error
    retryable = error.retryable if isinstance(error, ModelError | RunStopped) else error.status >= 500
    return NodeFailed(error.code, as_storable(error.message), retryable=retryable)


def _kept(step: Step, task: Task) -> Step:
    """Adds the node's state to one of its own steps, so that both are stored together."""
    if not isinstance(step, Checkpoint):
        return step
    change, nodes = step.change, step.nodes
    return Checkpoint(change, step.events, step.ledger, step.requests, step.uses, [*nodes, task.path])


def _again(task: Task, head: Mapping[str, Any], failure: NodeFailed) -> Checkpoint:
    def change() -> None:
        task.state.attempts += 1

    about = {**head, "attempt": task.state.attempts + 1, "error": failure.as_json()}
    return Checkpoint(change, [Event(EventType.NODE_STARTED, about)], nodes=[task.path])


def completed(task: Task, head: Mapping[str, Any], output: Any, remember: Sequence[MemoryAddition] = ()) -> Checkpoint:
    def change() -> None:
        task.state.status, task.state.output = "completed", output

    events = [Event(EventType.NODE_COMPLETED, {**head, "output": output})]
    return Checkpoint(change, events, nodes=[task.path], remember=remember)


def failed(task: Task, head: Mapping[str, Any], failure: NodeFailed) -> Checkpoint:
    def change() -> None:
        task.state.status, task.state.error = "failed", failure.as_json()

    return Checkpoint(change, [Event(EventType.NODE_FAILED, {**head, "error": failure.as_json()})], nodes=[task.path])


def storable(output: Any) -> tuple[Any, int]:
    """An output in storable form, and its bytes. Raises NodeFailed."""
    try:
        text = orjson.dumps(output)
    except (TypeError, ValueError):  # A lone surrogate, a number of more than 64 bits, or too many levels.
        output = as_storable_value(output)
        text = orjson.dumps(output)
    if b"\\u0000" in text:
        output = as_storable_value(output)
    if len(text) > OUTPUT_BYTES_MAX:
        raise NodeFailed("output_too_large", f"its output has {len(text)} bytes; at most {OUTPUT_BYTES_MAX} are kept")
    return output, len(text)


def message_of(result: Any) -> str:
    """A result as the text of a message: its field `content`, its only text, or all of it as JSON."""
    if isinstance(result, Mapping):
        said = result.get("content")
        values = list(result.values())
        if isinstance(said, str):
            return said
        if len(values) == 1 and isinstance(values[0], str):
            return values[0]
    return as_text(result)
