"""The tool for the agent's skills: its description lists them, and the agent reads one when it needs it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal
from stoa.skills import ArchiveError, Skill, SkillVersion
from stoa.tools import Call, ToolKind, ToolResult

SKILLS: Final = "skills"
_ABOUT: Final = (
    "Instructions for kinds of work, to be read before you begin with one. get gives a skill's instructions, which you"
    " then follow yourself; read gives one of its files, by the path that the instructions or the list name.\n"
    "Your skills:"
)


class Library(Protocol):
    """Where the files of skills are."""

    async def file(self, principal: Principal, version_id: UUID, path: str) -> str | None:
        """Its text. Raises ArchiveError for other content."""
        ...


class SkillsTool:
    """Read-only, so a call without result is repeated."""

    name = SKILLS
    kind = ToolKind.SKILL
    idempotent = True
    approval = False
    editable_params: Sequence[str] = ()

    def __init__(self, library: Library, principal: Principal, held: Sequence[tuple[Skill, SkillVersion]]) -> None:
        self._library = library
        self._principal = principal
        self._held = {skill.name: version for skill, version in held}
        listed = [f"- {name}: {version.description}" for name, version in self._held.items()]
        self.description = "\n".join([_ABOUT, *listed])
        self.parameters: Mapping[str, Any] = {
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["get", "read"]},
                "skill_name": {"type": "string", "enum": list(self._held)},
                "path": {"type": "string", "description": "Of a file of the skill; for read."},
            },
            "required": ["action", "skill_name"],
        }

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:  # noqa: ARG002 — the port's signature
        name, path = str(arguments["skill_name"]), str(arguments.get("path") or "")
        version = self._held[name]
        if arguments["action"] == "get":
            return ToolResult(_instructions(version))
        try:
            text = await self._library.file(self._principal, version.id, path)
        except ArchiveError as error:
            return ToolResult(f"The file {path!r} {error}.", "tool_refused")
        except AppError as error:
            return ToolResult(error.message, "tool_failed")
        if text is None:
            return ToolResult(f"The skill {name} has no file {path!r}.", "tool_refused")
        return ToolResult(text)


def _instructions(version: SkillVersion) -> str:
    others = [one.path for one in version.files if one.path != "SKILL.md"]
    if not others:
        return version.instructions
    return version.instructions + "\n\nFiles of this skill:\n" + "\n".join(f"- {path}" for path in others)
