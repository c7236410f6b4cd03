"""The tool for artifacts: publishes documents, reads them, and publishes new versions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from stoa.kernel.errors import AppError
from stoa.tools import Call, ToolKind, ToolResult

ARTIFACT: Final = "artifact"
SHOWN_MAX: Final = 20_000
KINDS: Final = ("html", "markdown", "code", "svg", "mermaid", "json", "csv", "chart")
_ABOUT: Final = (
    "Publishes documents that people open, keep and share: reports, pages, diagrams, tables. Each has a history of"
    " versions and outlives this conversation.\n"
    "Actions: create (a new document: name, kind, content), update (the next version of one: artifact_id, content), get"
    " (its content; version, or the newest), list (yours, the most recently updated first). Read a document before you"
    " update it. Do not repeat in your answer what you have published: name it."
)


class Publisher(Protocol):
    """The port for artifacts of the agent's user or conversation. Returns texts for the model. Raises AppError."""

    async def create(self, fields: Mapping[str, Any], call: Call) -> Mapping[str, Any]: ...

    async def update(self, artifact_id: UUID, fields: Mapping[str, Any], call: Call) -> Mapping[str, Any]: ...

    async def get(self, artifact_id: UUID, version: int | None) -> tuple[Mapping[str, Any], str | None]:
        """With its text, if it is a text."""
        ...

    async def list(self) -> Sequence[Mapping[str, Any]]: ...


class ArtifactTool:
    """Every call takes effect once, so one that may have been made is simply made again."""

    name = ARTIFACT
    kind = ToolKind.ARTIFACT
    idempotent = True
    approval = False
    editable_params: Sequence[str] = ()
    description = _ABOUT
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["create", "update", "get", "list"]},
            "artifact_id": {"type": "string", "description": "For update and get."},
            "name": {"type": "string", "maxLength": 200, "description": "What people see; for create."},
            "kind": {"type": "string", "enum": list(KINDS), "description": "For create; it never changes."},
            "content": {"type": "string", "minLength": 1, "description": "The whole document; for create, update."},
            "description": {
                "type": "string",
                "maxLength": 2000,
                "description": "One line: what it is, or has changed.",
            },
            "version": {"type": "integer", "minimum": 1, "description": "For get."},
        },
        "required": ["action"],
    }

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        action = str(arguments["action"])
        missing = [name for name in _NEEDED.get(action, ()) if name not in arguments]
        if missing:
            return ToolResult(f"{action} needs {' and '.join(missing)}", "tool_bad_arguments")
        try:
            artifact_id = UUID(str(arguments["artifact_id"])) if "artifact_id" in arguments else None
        except ValueError:
            return ToolResult("artifact_id is no id; use list", "tool_bad_arguments")
        try:
            return ToolResult(await self._do(action, artifact_id, arguments, call))
        except AppError as error:
            return ToolResult(error.message, "tool_refused" if error.status < 500 else "tool_failed")

    async def _do(self, action: str, artifact_id: UUID | None, arguments: Mapping[str, Any], call: Call) -> str:
        if action == "create":
            return _said(await self._publisher.create(arguments, call))
        if action == "list":
            return _said(await self._publisher.list())
        assert artifact_id is not None, "it was asked for"
        if action == "update":
            return _said(await self._publisher.update(artifact_id, arguments, call))
        about, text = await self._publisher.get(artifact_id, arguments.get("version"))
        if text is None:
            return f"{_said(about)}\n[It is no text.]"
        cut = f"\n[… {len(text) - SHOWN_MAX} more characters are not shown]" if len(text) > SHOWN_MAX else ""
        return f"{_said(about)}\n{text[:SHOWN_MAX]}{cut}"


_NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "create": ("name", "kind", "content"),
    "update": ("artifact_id", "content"),
    "get": ("artifact_id",),
}


def _said(value: Any) -> str:
    return orjson.dumps(value).decode()
