"""What the nodes of a graph work with. The driver and its nodes see nothing else."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import UUID

from stoa.gateway import Capabilities, ModelRequest, Usage
from stoa.runs.agent.knowledge import Quote
from stoa.runs.agent.ports import Schemas, Supply
from stoa.runs.agent.remembering import MemoryUse
from stoa.runs.agent.resources import AgentResources
from stoa.runs.agent.steps import Answer
from stoa.tools import Tool

T = TypeVar("T")


class Conversation(Protocol):
    async def __call__(
        self,
        abilities: Capabilities,
        question: str,
        *,
        memory: MemoryUse | None,
        base_ids: Sequence[UUID] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> ModelRequest:
        """What an agent's model reads: the question, with the run's files, and what its memory holds. A model that
        cannot search is given what a search of the bases finds. `extra` goes to the provider as it is."""
        ...


@dataclass(frozen=True, slots=True)
class FileText:
    """A file of the run after reading: (page, text) in document order, or why there is none."""

    id: UUID
    name: str
    passages: Sequence[tuple[int | None, str]]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What becomes an item of a knowledge base: a text in Markdown."""

    name: str
    content: str
    metadata: Mapping[str, Any]


class Clock(Protocol):
    """Time, where a node must wait or may not take too long."""

    async def sleep(self, seconds: float) -> None: ...

    async def within(self, seconds: float | None, work: Awaitable[T]) -> T:
        """Raises TimeoutError after so many seconds; the work is cancelled."""
        ...

    def now(self) -> float:
        """Seconds, from any beginning."""
        ...

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Does what may take long outside of the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class WorkflowPorts:
    """`answers` are people's, by request; `draining` says whether this server is to hand its runs over."""

    model: Callable[[UUID | None], Awaitable[Supply]]
    """Raises AppError when it cannot be had (any more)."""
    conversation: Conversation
    search: Callable[[Sequence[UUID], str, int | None], Awaitable[Sequence[Quote]]]
    """Best first. Raises AppError."""
    knowledge: Callable[[Sequence[UUID]], Tool]
    """The tool by which an agent searches these bases."""
    resource_tools: Callable[[AgentResources], Awaitable[Sequence[Tool]]]
    """The tools for what belongs to an agent."""
    tools: Mapping[str, Tool]
    answers: Mapping[str, Answer]
    schemas: Schemas
    allow: Callable[[Callable[[Usage], float | None]], Callable[[float], Awaitable[None]] | None]
    """(price of a model) → what looks at the spending limit before each call of it."""
    clock: Clock
    draining: Callable[[], bool]
    files: Callable[[], Awaitable[Sequence[FileText]]]
    """Those of the run. Raises AppError where they cannot be read for now."""
    store: Callable[[UUID, Sequence[NewDocument], str], Awaitable[Sequence[UUID]]]
    """(base, documents, what names this work within the run) → the items' ids, the same when it is done again. Raises
    AppError."""
    admitted: Callable[[], Awaitable[bool]] | None = None
    """Called before each call of a tool: false once the credential that began the run was revoked or has expired."""
