"""The ports of a graph's nodes. The driver and its nodes depend on nothing else."""

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
        """An agent's messages to the model: the question with the run's files, and what its memory holds. A model that
        cannot call tools gets the results of a search of the bases. `extra` is sent to the provider unchanged."""
        ...


@dataclass(frozen=True, slots=True)
class FileText:
    """A file of the run after reading: (page, text) in document order, or why it has none."""

    id: UUID
    name: str
    passages: Sequence[tuple[int | None, str]]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A future item of a knowledge base: a text in Markdown."""

    name: str
    content: str
    metadata: Mapping[str, Any]


class Clock(Protocol):
    """Time, for waits and timeouts."""

    async def sleep(self, seconds: float) -> None: ...

    async def within(self, seconds: float | None, work: Awaitable[T]) -> T:
        """Raises TimeoutError after so many seconds, and cancels the work."""
        ...

    def now(self) -> float:
        """Seconds since an arbitrary moment."""
        ...

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Runs something that may take long off the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class WorkflowPorts:
    """`answers` are people's, by request; `draining` returns whether this server hands its runs over."""

    model: Callable[[UUID | None], Awaitable[Supply]]
    """Raises AppError when the model is not (or no longer) available."""
    conversation: Conversation
    search: Callable[[Sequence[UUID], str, int | None], Awaitable[Sequence[Quote]]]
    """Best first. Raises AppError."""
    knowledge: Callable[[Sequence[UUID]], Tool]
    """The tool with which an agent searches these bases."""
    resource_tools: Callable[[AgentResources], Awaitable[Sequence[Tool]]]
    """The tools of an agent's memories and skills."""
    tools: Mapping[str, Tool]
    answers: Mapping[str, Answer]
    schemas: Schemas
    allow: Callable[[Callable[[Usage], float | None]], Callable[[float], Awaitable[None]] | None]
    """(price of a model) → the check of the spending limit before each call of that model."""
    clock: Clock
    draining: Callable[[], bool]
    files: Callable[[], Awaitable[Sequence[FileText]]]
    """The files of the run. Raises AppError while they cannot be read."""
    store: Callable[[UUID, Sequence[NewDocument], str], Awaitable[Sequence[UUID]]]
    """(base, documents, idempotency key within the run) → the items' ids, the same when repeated. Raises AppError."""
    admitted: Callable[[], Awaitable[bool]] | None = None
    """Called before each tool call: false once the credential that started the run was revoked or has expired."""
