"""Limits of memories and notes, the valid paths, and how a note is edited. Pure functions."""

import unicodedata
from typing import Final

MEMORIES_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
ITEMS_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at"}

PAGE_SIZE_MAX: Final = 1_000
"""For lists of items: the page size that the platform's library requests by default."""
DATA_BYTES_MAX: Final = 128 * 1024
"""The size of one message as JSON."""
MEMORIES_MAX: Final = 1_000
"""Memories per project. The same limit applies to memory stores."""
ITEMS_MAX: Final = 10_000
"""Items of one user in one memory. When a run adds more, the oldest are deleted; an API request is refused instead."""
TEXT_CHARACTERS_MAX: Final = 100_000
"""Characters of a message that a run stores. The rest is cut off, and the text says so."""
USER_CHARACTERS_MAX: Final = 255
SESSION_CHARACTERS_MAX: Final = 255
FILE_CHARACTERS_MAX: Final = 8_192
FILES_MAX: Final = 100
"""Files of one user in one store."""
PATH_CHARACTERS_MAX: Final = 512
CUT: Final = "\n[… cut off: the message is longer than a memory keeps]"


def kept(text: str) -> str:
    """The text of a message as a run stores it: cut to TEXT_CHARACTERS_MAX."""
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - len(CUT)] + CUT


def path_problem(path: str) -> str | None:
    """Why this path is invalid, or None. Paths are relative, with / between their segments."""
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
    """Normalizes characters that Unicode can encode in several ways, such as accented letters."""
    return unicodedata.normalize("NFC", path)


def content_problem(content: str) -> str | None:
    if len(content) > FILE_CHARACTERS_MAX:
        return f"has {len(content)} characters; a file holds at most {FILE_CHARACTERS_MAX}"
    return None


def edited(content: str, find: str, replacement: str, *, every: bool) -> tuple[str, int]:
    """The note with `find` replaced, and the number of replacements. Raises ValueError with a sentence."""
    places = _places(content, find)
    if not places:
        raise ValueError("find does not appear in the note, so nothing was changed")
    if len(places) > 1 and not every:
        raise ValueError(
            f"find appears {len(places)} times in the note; include more of the text around it, or set replace_all"
        )
    return content.replace(find, replacement, -1 if every else 1), content.count(find) if every else 1


def _places(content: str, find: str) -> list[int]:
    """The offsets of `find`. Overlapping matches are included, because each could be the intended one."""
    places: list[int] = []
    at = content.find(find)
    while at >= 0:
        places.append(at)
        at = content.find(find, at + 1)
    return places
