"""An agent: a model that calls tools until it has its answer."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import Field, model_validator

from stoa.runs.agent.checkpoint import turns_json
from stoa.runs.agent.definition import Agent, Limits, Subagent
from stoa.runs.agent.remembering import MemoryUse, conversed, memory_use
from stoa.runs.agent.resources import AgentResources, NotesUse, SkillUse
from stoa.runs.agent.steps import Step
from stoa.runs.workflow import templates
from stoa.runs.workflow.nodes import python
from stoa.runs.workflow.nodes.llm import Llm, output_schema, said
from stoa.runs.workflow.nodes.naming import tool_name, tools_of
from stoa.runs.workflow.nodes.node import (
    Approval,
    CodeTool,
    Inputs,
    Needs,
    Node,
    NodeFailed,
    NodePart,
    NodeType,
    Produced,
    fill,
)
from stoa.runs.workflow.nodes.subagent import SUBAGENT_TOOL, held_agent
from stoa.runs.workflow.task import Task

_AGENT: Final = "dynamiq.nodes.agents.Agent"
_FEEDBACK: Final = "dynamiq.nodes.tools.HumanFeedbackTool"
_PYTHON: Final = "dynamiq.nodes.tools.Python"
_RETRIEVER: Final = "dynamiq.nodes.retrievers.VectorStoreRetriever"
_NO_SANDBOX: Final = (
    "runs commands in a service of its own, which this server does not call: offer that service as an MCP server"
    " (POST /v1/tools), or write the work as a Python tool, which runs in the operator's sandbox (STOA_SANDBOX)"
)


class Sandbox(NodePart):
    """A service where an agent runs commands of its own. There is none here."""

    enabled: bool = False


class AgentTool(NodePart):
    """A tool, a knowledge base, the question to a person, or an agent that becomes a subagent."""

    type: Annotated[str, Field(min_length=1, max_length=200)]
    id: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    description: Annotated[str, Field(max_length=20_000)] | None = None
    role: Annotated[str, Field(max_length=100_000)] | None = None
    include_tools: Annotated[Sequence[str], Field(max_length=256)] = ()
    server: Annotated[str, Field(max_length=200)] | None = None
    knowledgebase_id: UUID | None = None
    approval: Approval | None = None
    code: Annotated[str, Field(max_length=python.CODE_CHARACTERS_MAX)] | None = None
    use_multiple_params: bool = False
    llm: Mapping[str, Any] | None = None
    tools: Annotated[Sequence["AgentTool"], Field(max_length=128)] = ()
    sandbox: Sandbox | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, given: Any) -> Any:
        """A SubAgentTool is the agent that it holds, under its own name and description."""
        if not isinstance(given, Mapping):
            return given
        fields = cast("Mapping[str, Any]", given)
        if fields.get("type") != SUBAGENT_TOOL or (held := held_agent(fields)) is None:
            return fields
        own = {name: fields[name] for name in ("id", "name", "description", "approval") if name in fields}
        return {**held, **own, "type": _AGENT}

    @property
    def title(self) -> str:
        return self.name or self.id or self.type.rsplit(".", 1)[-1]

    def names(self) -> Sequence[str]:
        """The names of the project's tools that it refers to."""
        if self.type in (_AGENT, _FEEDBACK, _PYTHON, _RETRIEVER) or self.knowledgebase_id is not None:
            return ()
        return tools_of(self.type, self.title, self.include_tools, self.server)

    def own_code(self) -> Sequence[CodeTool]:
        """The tool that its own code defines."""
        if self.type != _PYTHON:
            return ()
        about = self.description or self.title
        return [CodeTool(tool_name(self.title), about, self.code or "", self.use_multiple_params)]

    def offered(self) -> Sequence[str]:
        """The tools that the agent may call."""
        return [*self.names(), *(one.name for one in self.own_code())]

    def needing_approval(self) -> Sequence[str]:
        """The tools that need a person's approval for each call."""
        return self.offered() if self.approval is not None and self.approval.enabled else ()


class Switch(NodePart):
    enabled: bool = False


class MemoryStoreBackend(NodePart):
    memory_store_id: UUID | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None


class MemoryStoreField(Switch):
    """Notes on the user: a store of this server."""

    backend: MemoryStoreBackend = MemoryStoreBackend()
    write_enabled: bool = True

    def use(self) -> NotesUse | None:
        store_id = self.backend.memory_store_id if self.enabled else None
        return NotesUse(store_id, self.write_enabled, self.backend.description) if store_id else None


class SkillEntry(NodePart):
    id: UUID | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    version_id: UUID | Literal["latest"] = "latest"


class SkillsSource(NodePart):
    skills: Annotated[Sequence[SkillEntry], Field(max_length=64)] = ()


class SkillsField(Switch):
    """Skills of this server, each in one version."""

    source: SkillsSource = SkillsSource()

    def uses(self) -> Sequence[SkillUse]:
        entries = self.source.skills if self.enabled else ()
        return [SkillUse(one.id, str(one.version_id)) for one in entries if one.id is not None]


class AgentNode(Node):
    llm: Llm
    role: Annotated[str, Field(max_length=100_000)] | None = None
    instructions: Annotated[str, Field(max_length=100_000)] | None = None
    tools: Annotated[Sequence[AgentTool], Field(max_length=128)] = ()
    max_loops: Annotated[int, Field(ge=1, le=1_000)] | None = None
    memory: Mapping[str, Any] | bool | None = None
    memory_limit: Annotated[int, Field(ge=1)] | None = None
    memory_retrieval_strategy: Literal["all", "relevant", "both"] | None = None
    response_format: Mapping[str, Any] | None = None
    sandbox: Sandbox | None = None
    memory_store: MemoryStoreField | None = None
    skills: SkillsField | None = None
    artifacts: Switch | None = None
    long_term_memory: Any = None
    file_store: Any = None

    def needs(self) -> Needs:
        given = self._all_tools()
        bases = [one.knowledgebase_id for one in given if one.knowledgebase_id is not None]
        names = [name for one in given for name in one.names()]
        return Needs(
            self.llm.slugs(),
            list(dict.fromkeys(names)),
            list(dict.fromkeys(bases)),
            self._references(),
            [code for one in given for code in one.own_code()],
        )

    def _all_tools(self) -> Sequence[AgentTool]:
        """Its own tools and those of its subagents."""
        return [*self.tools, *_tools_below([tool for tool in self.tools if tool.type == _AGENT])]

    def _references(self) -> Sequence[tuple[str, UUID]]:
        try:
            memory = self.remembers()
        except ValueError:  # Reported by `problems`.
            memory = None
        resources = self.resources()
        found = [("memory", memory.memory_id)] if memory is not None and memory.memory_id else []
        found += [("memory_store", resources.notes.store_id)] if resources.notes else []
        return [*found, *(("skill", one.skill_id) for one in resources.skills)]

    def resources(self) -> AgentResources:
        return AgentResources(
            self.memory_store.use() if self.memory_store else None,
            self.skills.uses() if self.skills else (),
            artifacts=self.artifacts is not None and self.artifacts.enabled,
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.sandbox is not None and self.sandbox.enabled:
            yield "sandbox", _NO_SANDBOX
        if self.role and (why := templates.problem(self.role)):
            yield "role", why
        try:
            self.remembers()
        except ValueError as error:
            yield "memory", str(error)
        for index, skill in enumerate(self.skills.source.skills if self.skills and self.skills.enabled else ()):
            if skill.id is None:
                yield (
                    f"skills.source.skills[{index}].id",
                    f"must name a skill of the project: upload {skill.name!r} as a ZIP (POST /v1/skills/upload)",
                )
        for tool in self._all_tools():
            if tool.sandbox is not None and tool.sandbox.enabled:
                yield "tools", f"holds {tool.title!r}, whose sandbox {_NO_SANDBOX}"
            if tool.type == SUBAGENT_TOOL:
                yield "tools", f"holds {tool.title!r}, which holds no agent: give it agent_factory, or agent"
            if tool.type == _RETRIEVER and tool.knowledgebase_id is None:
                yield (
                    "tools",
                    f"holds {tool.title!r}, whose knowledgebase_id must name the knowledge base that it is here",
                )
            if tool.type == _PYTHON and (why := python.problem(tool.code or "")):
                yield "tools", f"holds {tool.title!r}, whose code {why}"
        titles = [tool_name(tool.title) for tool in self.tools if tool.type == _AGENT]
        for title in {one for one in titles if titles.count(one) > 1}:
            yield "tools", f"holds two agents named {title!r}: the model could not tell them apart"

    def advice(self) -> Iterator[str]:
        for name in ("long_term_memory", "file_store"):
            if getattr(self, name):
                yield f"Its field {name} has no effect here."
        for tool in self.tools:
            if tool.type == _AGENT and tool.llm is not None and tool.llm.get("model") != self.llm.model:
                yield f"Its subagent {tool.title} speaks with the model of this agent, not with its own."

    def remembers(self) -> MemoryUse | None:
        return memory_use(self.memory, self.memory_retrieval_strategy, self.memory_limit)

    def agent(self, fields: Mapping[str, Any]) -> Agent:
        needs = self.needs()
        subagents = [tool for tool in self.tools if tool.type == _AGENT]
        text = "\n\n".join(part for part in (self.role, self.instructions) if part)
        limits = {"iterations_max": self.max_loops} if self.max_loops else {}
        return Agent(
            instructions=fill(text, fields) if text else None,
            tools=[name for tool in self.tools if tool.type != _AGENT for name in tool.offered()],
            approvals=frozenset(name for tool in self._all_tools() for name in tool.needing_approval()),
            human_feedback=any(tool.type == _FEEDBACK for tool in self.tools),
            knowledge_bases=[str(base_id) for base_id in needs.bases],
            subagents=[_subagent(tool) for tool in subagents],
            subagents_enabled=bool(subagents),
            output_schema=output_schema(self.response_format),
            limits=Limits(**limits, output_tokens_max=self.llm.max_tokens),
            resources=self.resources(),
        )


def _tools_below(subagents: Sequence[AgentTool]) -> Sequence[AgentTool]:
    return [one for tool in subagents for one in tool.tools]


def _subagent(tool: AgentTool) -> Subagent:
    names = [name for one in tool.tools for name in one.offered()]
    return Subagent(tool_name(tool.title), tool.description or tool.title, tool.role, names)


def asked(own: Mapping[str, Any]) -> str:
    """The agent's prompt: the field `input`, the only text, or all fields as JSON."""
    if (text := own.get("input")) is not None:
        return templates.as_text(text)
    values = list(own.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return templates.as_text(dict(own))


async def _work(node: AgentNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    supply = await task.model()
    agent = node.agent({**inputs.values, **inputs.own})
    question = asked(inputs.own)
    if not question.strip():
        raise NodeFailed("input_invalid", "its input is empty: there is nothing to ask the agent")
    bases = node.needs().bases
    conversation = await task.ports.conversation(
        supply.model.abilities, question, memory=node.remembers(), base_ids=bases, extra=node.llm.extra()
    )
    async with aclosing(task.converse(agent, supply, conversation, bases)) as steps:
        async for step in steps:
            yield step
    if not task.waits:
        turns = turns_json(task.state.agent) if task.state.agent is not None else None
        remember = conversed(task.run, node.remembers(), task.path, question, task.answer, turns)
        yield Produced(said(task.answer, agent.output_schema), remember)


AGENT: Final = NodeType(
    name=_AGENT,
    group="agents",
    description="A model with a role, tools and subagents; it answers its field `input` in its field `content`.",
    schema=AgentNode,
    work=_work,
)
TYPES: Final = (AGENT,)
