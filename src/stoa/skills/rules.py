"""Limits of skills, and how a SKILL.md says its name and description. Pure."""

import re
from typing import Final

SKILLS_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
VERSIONS_SORTABLE: Final = {"created_at": "created_at", "version": "version"}
SKILLS_MAX: Final = 1_000
"""Of a project."""
VERSIONS_MAX: Final = 500
"""Of a skill."""
ARCHIVE_BYTES_MAX: Final = 1024 * 1024
UNPACKED_BYTES_MAX: Final = 16 * 1024 * 1024
FILES_MAX: Final = 500
INSTRUCTIONS_CHARACTERS_MAX: Final = 200_000
DESCRIPTION_CHARACTERS_MAX: Final = 2_000
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
READ_BYTES_MAX: Final = 64 * 1024
"""Of one file that an agent reads; the rest is cut off, visibly."""
INSTRUCTIONS_FILE: Final = "SKILL.md"


def name_problem(name: str) -> str | None:
    """Why no skill may have this name; None where it may."""
    if NAME.fullmatch(name) and ".." not in name:
        return None
    return "must have 1 to 64 characters: letters, digits, spaces, -, _ and ., the first a letter or a digit"


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """The fields between the lines `---` at the beginning of a SKILL.md, and what comes after them.

    Only fields of one text are read: on their line, in quotes or not, or indented below it. That is what the format
    holds, and no parser of YAML is needed for it.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, text
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    if end is None:
        return {}, text
    return _fields(lines[1:end]), "\n".join(lines[end + 1 :]).strip()


def _fields(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        begun = re.match(r"([A-Za-z][\w-]*):\s*(.*)", line)
        if begun:
            value = begun[2].strip()
            current = found.setdefault(begun[1], [])
            if not re.fullmatch(r"[|>][+-]?", value):
                current.append(_unquoted(value))
        elif current is not None and line[:1].isspace() and line.strip():
            current.append(line.strip())
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1].replace('\\"', '"')
    return value
