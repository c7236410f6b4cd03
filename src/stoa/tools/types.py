"""The port of everything that an agent may call. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class ToolKind(StrEnum):
    HTTP = "http"
    MCP = "mcp"
    KNOWLEDGE_BASE = "knowledge_base"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the ledger knows it. `key` is the same whenever this call is repeated: services that honour it do its work once."""

    org_id: UUID
    project_id: UUID
    run_id: UUID
    key: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What goes back to the model: text, or why there is none. A failure is a result too: the model decides what to do with it.

    `code` is one of: tool_timeout, tool_unreachable, tool_refused (4xx), tool_failed (5xx, an exception, an MCP error),
    tool_bad_arguments, tool_output_too_large, tool_address_refused, tool_unavailable, tool_unknown.
    """

    text: str
    code: str | None = None

    @property
    def failed(self) -> bool:
        return self.code is not None


class Tool(Protocol):
    """`call` never raises but for cancellation: what fails becomes a ToolResult. It keeps its own timeout and output limit."""

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
        """Whether a call that may have happened may be made again with the same key: else a crash ends in a question to a person."""
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
class Definition:
    """A tool as a project has it. `secret_names` are all that is ever shown of its secrets."""

    id: UUID
    project_id: UUID
    name: str
    type: ToolKind
    description: str
    config: Mapping[str, Any]
    secret_names: Sequence[str]
    idempotent: bool
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewTool:
    """What a caller defines; `secrets` None keeps those that are there."""

    name: str
    type: ToolKind
    description: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str] | None
    idempotent: bool
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int
