"""Loads the graph of a run, parses it once, and gives its nodes the models, tools and bases that they name."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.conversations import text_of
from stoa.kernel.errors import NotFound
from stoa.runs.agent.knowledge import KnowledgeTool, Library
from stoa.runs.agent.ports import ResourceTools, Schemas
from stoa.runs.agent.steps import Answer
from stoa.runs.context import Context
from stoa.runs.pacing import Pacing
from stoa.runs.ports import FindModel, Flows, Writing
from stoa.runs.recording import Recorder
from stoa.runs.types import Run
from stoa.runs.workflow import graph as graphs
from stoa.runs.workflow.code import code_of
from stoa.runs.workflow.driver import Workflow
from stoa.runs.workflow.graph import Graph
from stoa.runs.workflow.ports import WorkflowPorts
from stoa.runs.workflow.state import WorkflowCheckpoint
from stoa.tools import Code, CodeTool, Sandbox, Tool

KEPT_MAX: Final = 256
"""Graphs of released versions that are kept in memory: a version never changes."""
CODE_SECONDS: Final = 30.0
"""The default timeout of a call of a flow's code."""


@dataclass(frozen=True, slots=True)
class ReadyGraph:
    """A run's graph, with the models of its nodes by key, and the fields of its input."""

    graph: Graph
    models: Mapping[str, UUID]
    fields: Mapping[str, Any]

    def tools(self) -> list[str]:
        """Every tool of the project that a node may call."""
        return list(dict.fromkeys(name for needs in self.graph.needs().values() for name in needs.tools))


def is_graph(run: Run) -> bool:
    return run.options.get("workflow") is not None


class Graphs:
    """Long-lived, one per node."""

    def __init__(
        self,
        flows: Flows,
        find_model: FindModel,
        context: Context,
        library: Library,
        schemas: Schemas,
        resource_tools: ResourceTools,
        sandbox: Sandbox | None,
        writing: Writing,
    ) -> None:
        self._writing = writing
        self._sandbox = sandbox
        self._flows = flows
        self._find_model = find_model
        self._context = context
        self._library = library
        self._schemas = schemas
        self._resource_tools = resource_tools
        self._clock = Pacing()
        self._kept: OrderedDict[UUID, Graph] = OrderedDict()

    async def ready(self, run: Run) -> ReadyGraph:
        """Raises AppError if the version was deleted, or this release does not support it any more."""
        named = run.options["workflow"]
        fields = run.options.get("fields")
        if fields is None:
            fields = {"input": text_of(run.input["content"])}
        models = {key: UUID(model_id) for key, model_id in named["models"].items()}
        return ReadyGraph(await self._graph(run, named), models, fields)

    async def _graph(self, run: Run, named: Mapping[str, Any]) -> Graph:
        if (flow := named.get("flow")) is not None:  # A test of a flow that is not released.
            return await asyncio.to_thread(graphs.read, flow)
        version_id = UUID(named["version_id"])
        if (kept := self._kept.get(version_id)) is not None:
            self._kept.move_to_end(version_id)
            return kept
        text = await self._flows.flow(run.org_id, version_id)
        if text is None:
            raise NotFound(f"The version {version_id} of the workflow is gone.")
        made = await asyncio.to_thread(lambda: graphs.read(orjson.loads(text)))
        self._kept[version_id] = made
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return made

    def workflow(
        self,
        run: Run,
        state: WorkflowCheckpoint,
        ready: ReadyGraph,
        tools: Mapping[str, Tool],
        answers: Mapping[str, Answer],
        recorder: Recorder,
        draining: Callable[[], bool],
        admitted: Callable[[], Awaitable[bool]] | None,
    ) -> Workflow:
        ports = WorkflowPorts(
            partial(self._find_model, run),
            partial(self._context.of_node, run),
            partial(self._library.look, run),
            partial(KnowledgeTool, self._library, run),
            partial(self._resource_tools, run),
            {**tools, **code_tools(ready.graph, self._sandbox)},
            answers,
            self._schemas,
            partial(recorder.allowance, run),
            self._clock,
            draining,
            partial(self._context.files_of, run),
            partial(self._writing.store, run),
            admitted,
        )
        return Workflow(run, ready.graph, ready.models, ready.fields, state, ports)


def code_tools(graph: Graph, sandbox: Sandbox | None) -> Mapping[str, Tool]:
    """The flow's Python tools by name."""
    return {
        name: CodeTool(
            name,
            one.description,
            Code(one.code, one.spread),
            sandbox,
            whole=one.whole,
            seconds=one.seconds or CODE_SECONDS,
        )
        for name, one in code_of(graph).items()
    }
