"""The tool for the agent's notes on its user, which outlive the conversation; each note has a path."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from stoa.kernel.effects import EffectKey
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal
from stoa.memory import FILE_CHARACTERS_MAX, MemoryFile, one_spelling, path_problem
from stoa.runs.agent.resources import NotesUse
from stoa.tools import Call, ToolKind, ToolResult

NOTES: Final = "memory_store"
_ABOUT: Final = (
    "Your memory: notes that you keep on the user you work for, across conversations. Everything else is gone when the"
    " conversation ends.\n"
    "Actions: list (what you know already; path narrows it to what begins so), read (one note), write (creates or"
    " replaces a note), edit (replaces find by replace in a note; find must match one place unless replace_all is set),"
    " delete (a note that has become wrong).\n"
    "Look into your notes before you ask what you may have been told. Keep what will matter next time: preferences,"
    " standing rules, corrections, facts about the user and their setup. Never secrets, and never the answer itself."
    " One topic a note, with a path that says what it is about; edit a note rather than write a second one."
)
_READ_ONLY: Final = "\nThese notes are read-only: write, edit and delete are refused."


class Notes(Protocol):
    """A store of notes. Raises NotFound for a missing note or store, and Conflict if it is full."""

    async def files(self, principal: Principal, store_id: UUID, user_id: str, prefix: str) -> Sequence[MemoryFile]: ...

    async def read(self, principal: Principal, store_id: UUID, user_id: str, path: str) -> MemoryFile: ...

    async def note(
        self, principal: Principal, store_id: UUID, user_id: str, path: str, content: str, call: EffectKey
    ) -> str:
        """Writes once per call, and returns a confirmation."""
        ...

    async def edit(
        self,
        principal: Principal,
        store_id: UUID,
        user_id: str,
        path: str,
        change: tuple[str, str],
        call: EffectKey,
        *,
        every: bool,
    ) -> str:
        """The same. Raises ValueError with a sentence if the edit does not apply."""
        ...

    async def drop(self, principal: Principal, store_id: UUID, user_id: str, path: str, call: EffectKey) -> str: ...


class NotesTool:
    """Every call takes effect once, so a call that may have been made is repeated."""

    name = NOTES
    kind = ToolKind.MEMORY_STORE
    idempotent = True
    approval = False
    editable_params: Sequence[str] = ()
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["list", "read", "write", "edit", "delete"]},
            "path": {"type": "string", "description": "Of the note, such as preferences.md; list takes a beginning."},
            "content": {
                "type": "string",
                "maxLength": FILE_CHARACTERS_MAX,
                "description": "The whole note; for write.",
            },
            "find": {"type": "string", "minLength": 1, "description": "The exact text to replace; for edit."},
            "replace": {"type": "string", "description": "What takes its place; for edit."},
            "replace_all": {"type": "boolean", "description": "Replace every occurrence of find."},
        },
        "required": ["action"],
    }

    def __init__(self, notes: Notes, use: NotesUse, principal: Principal, user_id: str) -> None:
        self._notes = notes
        self._use = use
        self._principal = principal
        self._user_id = user_id
        held = f"\nYour notes: {use.description}" if use.description else ""
        self.description = _ABOUT + held + ("" if use.write_enabled else _READ_ONLY)

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        action, path = str(arguments["action"]), str(arguments.get("path") or "")
        if action != "list" and (problem := path_problem(path)):
            return ToolResult(f"path {problem}", "tool_bad_arguments")
        if action in ("write", "edit", "delete") and not self._use.write_enabled:
            return ToolResult("These notes are read-only; they can be listed and read.", "tool_refused")
        missing = [name for name in _NEEDED.get(action, ()) if name not in arguments]
        if missing:
            return ToolResult(f"{action} needs {' and '.join(missing)}", "tool_bad_arguments")
        try:
            return ToolResult(await self._do(action, one_spelling(path), arguments, call))
        except ValueError as error:
            return ToolResult(f"{error}.", "tool_bad_arguments")
        except AppError as error:
            return ToolResult(error.message, "tool_refused" if error.status < 500 else "tool_failed")

    async def _do(self, action: str, path: str, arguments: Mapping[str, Any], call: Call) -> str:
        whose = (self._principal, self._use.store_id, self._user_id, path)
        effect = EffectKey(call.org_id, call.project_id, call.run_id, UUID(call.key))
        match action:
            case "list":
                return _listed(await self._notes.files(*whose), path)
            case "read":
                return (await self._notes.read(*whose)).content or ""
            case "write":
                return await self._notes.note(*whose, str(arguments["content"]), effect)
            case "edit":
                change = (str(arguments["find"]), str(arguments["replace"]))
                return await self._notes.edit(*whose, change, effect, every=bool(arguments.get("replace_all")))
            case _:
                return await self._notes.drop(*whose, effect)


_NEEDED: Final[Mapping[str, Sequence[str]]] = {"write": ("content",), "edit": ("find", "replace")}


def _listed(files: Sequence[MemoryFile], prefix: str) -> str:
    if not files:
        return f"No notes begin with '{prefix}'." if prefix else "No notes yet."
    return "\n".join(f"- {one.path} ({one.size} characters, changed {one.updated_at:%Y-%m-%d})" for one in files)
