"""Graphs for tests: nodes in few words, and a driver over honest ports without a server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson

from stoa.events import Event
from stoa.gateway import Capabilities, ModelMessage, ModelRequest, TextPart
from stoa.kernel.schema_checker import SchemaChecker
from stoa.runs import Run
from stoa.runs.agent.knowledge import Quote
from stoa.runs.agent.ports import Supply
from stoa.runs.agent.steps import Checkpoint, Interrupt, Question, Released
from stoa.runs.graphs import code_tools
from stoa.runs.types import RunStatus
from stoa.runs.workflow import graph as graphs
from stoa.runs.workflow.driver import Workflow
from stoa.runs.workflow.ports import FileText, NewDocument, WorkflowPorts
from stoa.runs.workflow.state import NodeState, WorkflowCheckpoint
from stoa.tools import Sandbox
from tests.support.doubles import ScriptedModel, ScriptedTool

T = TypeVar("T")
PREFIX = "dynamiq.nodes"
MODEL = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SHORT_NAMES = {
    "input": f"{PREFIX}.utils.Input",
    "output": f"{PREFIX}.utils.Output",
    "agent": f"{PREFIX}.agents.Agent",
    "llm": f"{PREFIX}.llms.CustomLLM",
    "http": f"{PREFIX}.tools.HttpApiCall",
    "feedback": f"{PREFIX}.tools.HumanFeedbackTool",
    "search": f"{PREFIX}.knowledgebases.DynamiqKnowledgebaseVectorSearch",
    "choice": f"{PREFIX}.operators.Choice",
    "map": f"{PREFIX}.operators.Map",
    "python": f"{PREFIX}.tools.Python",
    "convert": f"{PREFIX}.converters.PyPDFConverter",
    "csv": f"{PREFIX}.converters.CSVConverter",
    "split": f"{PREFIX}.splitters.DocumentSplitter",
    "embed_text": f"{PREFIX}.embedders.OpenAITextEmbedder",
    "embed": f"{PREFIX}.embedders.OpenAIDocumentEmbedder",
    "retrieve": f"{PREFIX}.retrievers.WeaviateDocumentRetriever",
    "write": f"{PREFIX}.writers.WeaviateDocumentWriter",
}


def node(kind: str, node_id: str, *depends: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`pick`: what the node reads, by JSONPath; `handling`: its error_handling; `agent` and `llm` name a model."""
    made: dict[str, Any] = {"id": node_id, "type": SHORT_NAMES[kind]}
    if depends:
        made["depends"] = [{"node": one} if isinstance(one, str) else one for one in depends]
    if "pick" in fields:
        made["input_transformer"] = {"selector": fields.pop("pick")}
    if "handling" in fields:
        made["error_handling"] = fields.pop("handling")
    if kind == "agent":
        made["llm"] = {"type": SHORT_NAMES["llm"], "model": "stoa-extractive"}
    if kind == "llm":
        made["model"] = "stoa-extractive"
    return made | fields


def flow(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """With an input named `start`, and an output named `end` behind the last node where none is given."""
    given = [node("input", "start"), *nodes]
    if not any(one["type"] == SHORT_NAMES["output"] for one in nodes):
        given.append(node("output", "end", nodes[-1]["id"] if nodes else "start"))
    return {"id": "f", "nodes": given, **fields}


class SteppedClock:
    """Time that passes when it is waited for; `slept` holds the waits."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def within(self, seconds: float | None, work: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await work

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


@dataclass
class GraphRun:
    """One run of a graph, driven as the server drives it, with what it said and stored."""

    flow: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=lambda: {"input": "Hi"})
    model: ScriptedModel = field(default_factory=ScriptedModel)
    tools: Sequence[ScriptedTool] = ()
    state: WorkflowCheckpoint = field(default_factory=WorkflowCheckpoint)
    answers: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rows: dict[str, Any] = field(default_factory=dict)
    """What the database holds of the nodes."""
    questions: list[Question] = field(default_factory=list)
    billed: int = 0
    checkpoints: int = 0
    draining: bool = False
    clock: SteppedClock = field(default_factory=SteppedClock)
    sandbox: Sandbox | None = None
    files: Sequence[FileText] = ()
    stored: dict[str, Sequence[NewDocument]] = field(default_factory=dict)
    """What was put into knowledge bases, by what names the work."""
    found: Sequence[Quote] = ()
    asked: list[Any] = field(default_factory=list)
    last: Any = None
    workflow: Any = None
    on_step: Callable[["GraphRun", Any], None] | None = None

    async def drive(self) -> "GraphRun":
        graph = graphs.read(self.flow)
        schemas = SchemaChecker()
        ports = WorkflowPorts(
            self._model,
            _conversation,
            self._search,
            lambda _: None,
            _nothing_own,
            {**{tool.name: tool for tool in self.tools}, **code_tools(graph, self.sandbox)},
            self.answers,
            schemas,
            lambda _: None,
            self.clock,
            lambda: self.draining,
            self._files,
            self._store,
        )
        models = {one.key: MODEL for one in graph.everywhere() if one.node.needs().model is not None}
        made = self.workflow = Workflow(a_run(), graph, models, self.fields, self.state, ports)
        self.last = None
        try:
            async with aclosing(made.drive()) as steps:
                async for step in steps:
                    self._take(step)
                    if self.on_step is not None:
                        self.on_step(self, step)
        finally:
            await schemas.close()
        return self

    def _take(self, step: Any) -> None:
        if isinstance(step, Checkpoint):
            step.change()
            self.checkpoints += 1
            self.billed += len(step.uses)
            self.questions += step.requests
            self.events += step.events
            for path, state in self.state.nodes_json(step.nodes):
                self.rows[path] = orjson.loads(orjson.dumps(state))
        elif isinstance(step, Interrupt | Released):
            self.last = step
        else:
            self.events += step

    async def _model(self, model_id: UUID | None) -> Supply:
        assert model_id == MODEL
        return Supply(self.model, "scripted", lambda _: 0.001)

    async def _files(self) -> Sequence[FileText]:
        return self.files

    async def _store(self, _: UUID, documents: Sequence[NewDocument], work: str) -> Sequence[UUID]:
        self.stored.setdefault(work, documents)
        return [UUID(int=number) for number in range(len(documents))]

    async def _search(self, bases: Sequence[UUID], query: str, limit: int | None) -> Sequence[Quote]:
        self.asked.append((list(bases), query, limit))
        return self.found

    def died(self) -> "GraphRun":
        """What another server finds: the rows that were stored, and nothing else."""
        state = WorkflowCheckpoint(nodes={path: NodeState.of(one) for path, one in self.rows.items()})
        return GraphRun(
            self.flow, self.fields, self.model, self.tools, state, self.answers, rows=dict(self.rows), clock=self.clock
        )

    def said(self, kind: str) -> list[str]:
        """The ids of nodes that this happened to, in order: `completed`, `skipped`, …"""
        return [one.data["id"] for one in self.events if one.type.name == f"NODE_{kind.upper()}"]

    def output(self, node_id: str) -> Any:
        return self.state.nodes[node_id].output


def a_run() -> Run:
    one, now = UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)
    source = {"content": [{"type": "text", "text": "Hi"}]}
    return Run(
        one, one, one, one, one, 1, None, None, None, RunStatus.STARTED, {}, source, None, None, None, None, 0, 1, None,
        None, None, now, now, None, None,
    )  # fmt: skip


async def _conversation(_: Capabilities, question: str, **options: Any) -> ModelRequest:
    return ModelRequest(messages=[ModelMessage("user", (TextPart(question),))], extra=options.get("extra") or {})


async def _nothing_own(_: Any) -> Sequence[Any]:
    return ()
