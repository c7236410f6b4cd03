"""Limits of skills, and the reader of a SKILL.md's front matter. Pure functions."""

import re
from typing import Final

SKILLS_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
VERSIONS_SORTABLE: Final = {"created_at": "created_at", "version": "version"}
SKILLS_MAX: Final = 1_000
"""Skills per project."""
VERSIONS_MAX: Final = 500
"""Versions per skill."""
ARCHIVE_BYTES_MAX: Final = 1024 * 1024
UNPACKED_BYTES_MAX: Final = 16 * 1024 * 1024
FILES_MAX: Final = 500
INSTRUCTIONS_CHARACTERS_MAX: Final = 200_000
DESCRIPTION_CHARACTERS_MAX: Final = 2_000
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
READ_BYTES_MAX: Final = 64 * 1024
"""Bytes of one file that an agent reads. The rest is cut off, and the text says so."""
INSTRUCTIONS_FILE: Final = "SKILL.md"


def name_problem(name: str) -> str | None:
    """Why this name is invalid, or None."""
    if NAME.fullmatch(name) and ".." not in name:
        return None
    return "must have 1 to 64 characters: letters, digits, spaces, -, _ and ., the first a letter or a digit"


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """The fields between the `---` lines at the beginning of a SKILL.md, and the text after them.

    Only fields whose value is one string are read: on the same line, quoted or not, or indented below it. The format
    needs no more, so no YAML parser is used.
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
