"""The port of everything that an agent may call. No I/O here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias
from uuid import UUID


class ToolKind(StrEnum):
    HTTP = "http"
    MCP = "mcp"
    KNOWLEDGE_BASE = "knowledge_base"
    PYTHON = "python"
    MEMORY_STORE = "memory_store"
    SKILL = "skill"
    ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the ledger knows it.

    `key` is the same when this call is repeated: services that honour it do its work once.
    """

    org_id: UUID
    project_id: UUID
    run_id: UUID
    key: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result for the model: text, or an error. A failure is a result too: the model decides what to do with it.

    `code` is one of: tool_timeout, tool_unreachable, tool_refused (4xx), tool_failed (5xx, an exception, an MCP error),
    tool_bad_arguments, tool_address_refused, tool_unavailable, tool_unknown. Text over a tool's limit is cut, visibly.
    """

    text: str
    code: str | None = None

    @property
    def failed(self) -> bool:
        return self.code is not None


CheckArguments: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[str | None]]
"""(arguments, schema) → why they do not fit, or None."""


class Tool(Protocol):
    """`call` raises nothing except cancellation: a failure becomes a ToolResult.

    It enforces its own timeout and output limit.
    """

    @property
    def name(self) -> str:
        """As the model calls it: letters, digits, _ and -, at most 64."""
        ...

    @property
    def kind(self) -> ToolKind: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """A JSON schema (an object's)."""
        ...

    @property
    def idempotent(self) -> bool:
        """Whether a call that may have happened may be repeated with the same key; otherwise a crash leads to a
        question to a person.
        """
        ...

    @property
    def approval(self) -> bool:
        """Whether a person is asked before each call."""
        ...

    @property
    def editable_params(self) -> Sequence[str]:
        """Which arguments that person may change."""
        ...

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that an MCP server offers, under the server's own name.

    The hints are the server's claims, None if it makes none.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    read_only: bool | None = None
    idempotent: bool | None = None
    destructive: bool | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """An MCP server that the operator has declared: a program with stdin and stdout as its transport.

    `projects` None: all may use it.
    """

    name: str
    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    projects: frozenset[UUID] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What an MCP server offers. `problem` tells of tools that had to be left out."""

    offers: Sequence[Offer]
    problem: str | None = None


class Unlisted(Exception):
    """A server's offers or a document could not be fetched. The message says why."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A project's tool, or MCP server. Of its secrets only `secret_names` are ever shown."""

    id: UUID
    project_id: UUID
    name: str
    type: ToolKind
    description: str
    config: Mapping[str, Any]
    secret_names: Sequence[str]
    idempotent: bool | None
    """None: as an MCP server's annotations say."""
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int
    created_at: datetime
    updated_at: datetime
    offers: Sequence[Offer] | None = None
    """The offers of an MCP server at the last request; None: it never answered."""
    listed_at: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NewTool:
    """A caller's definition; `secrets` None keeps the stored ones."""

    name: str
    type: ToolKind
    description: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str] | None
    idempotent: bool | None
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int


@dataclass(frozen=True, slots=True)
class Called:
    """The result of a test call, and its duration."""

    result: ToolResult
    seconds: float


# --- tools out of an OpenAPI document -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ImportRequest:
    document: Mapping[str, Any] | str | None
    url: str | None
    operations: Sequence[str] | None
    base_url: str | None
    prefix: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    secrets: Mapping[str, str]
    ca_bundle: str | None
    approval: bool
    timeout_seconds: float
    output_bytes_max: int
    replace: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """A tool that an operation becomes. `notes` say what a person should know about it; `id` once it is made."""

    operation: str
    new: NewTool
    notes: Sequence[str] = ()
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    tools: Sequence[Planned]
    skipped: Sequence[tuple[str, str]]
    """Operations that no tool can stand for, each with the reason."""
