"""Limits of memories and notes, what a path may be, and how a note is edited. Pure."""

import unicodedata
from typing import Final

MEMORIES_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
ITEMS_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at"}

PAGE_SIZE_MAX: Final = 1_000
"""Of items: what the platform's library asks for unless it is told otherwise."""
DATA_BYTES_MAX: Final = 128 * 1024
"""Of one message, as JSON."""
MEMORIES_MAX: Final = 1_000
"""Of a project; stores likewise."""
ITEMS_MAX: Final = 10_000
"""Of one user in one memory. When an agent remembers more, the oldest go; a request is refused instead."""
TEXT_CHARACTERS_MAX: Final = 100_000
"""Of a message that an agent keeps; the rest is cut off, visibly."""
USER_CHARACTERS_MAX: Final = 255
SESSION_CHARACTERS_MAX: Final = 255
FILE_CHARACTERS_MAX: Final = 8_192
FILES_MAX: Final = 100
"""Of one user in one store."""
PATH_CHARACTERS_MAX: Final = 512
CUT: Final = "\n[… cut off: the message is longer than a memory keeps]"


def kept(text: str) -> str:
    """A message as an agent's memory keeps it."""
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - len(CUT)] + CUT


def path_problem(path: str) -> str | None:
    """Why no file may have this path; None where it may. Paths are relative, with / between their segments."""
    if not path or path != path.strip():
        return "cannot be blank, or begin or end with white space"
    if len(path) > PATH_CHARACTERS_MAX:
        return f"has {len(path)} characters; a path has at most {PATH_CHARACTERS_MAX}"
    if path.startswith("/"):
        return "must be relative: leave out the / at its beginning"
    if "\\" in path:
        return "separates its segments with /, not with \\"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "cannot hold control characters"
    segments = path.split("/")
    if "" in segments:
        return "cannot have empty segments"
    if "." in segments or ".." in segments:
        return "cannot have the segments . and .."
    return None


def one_spelling(path: str) -> str:
    """Of characters that can be written in several ways, such as accented letters."""
    return unicodedata.normalize("NFC", path)


def content_problem(content: str) -> str | None:
    if len(content) > FILE_CHARACTERS_MAX:
        return f"has {len(content)} characters; a file holds at most {FILE_CHARACTERS_MAX}"
    return None


def edited(content: str, find: str, replacement: str, *, every: bool) -> tuple[str, int]:
    """The note with `find` replaced, and how often. Raises ValueError with a sentence where it cannot be done."""
    places = _places(content, find)
    if not places:
        raise ValueError("find does not appear in the note, so nothing was changed")
    if len(places) > 1 and not every:
        raise ValueError(
            f"find appears {len(places)} times in the note; include more of the text around it, or set replace_all"
        )
    return content.replace(find, replacement, -1 if every else 1), content.count(find) if every else 1


def _places(content: str, find: str) -> list[int]:
    """Where it appears; places that overlap count, for each of them might be meant."""
    places: list[int] = []
    at = content.find(find)
    while at >= 0:
        places.append(at)
        at = content.find(find, at + 1)
    return places
