"""Pure decisions about conversations and their files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from stoa.conversations.types import Role
from stoa.kernel.errors import BadRequest

TITLE_CHARACTERS_MAX: Final = 300
METADATA_BYTES_MAX: Final = 16 * 1024
"""Enough for a set of tags; larger data belongs into files."""
CONTENT_PARTS_MAX: Final = 64
QUERY_WORDS_MAX: Final = 32

ANSWERS_MAX: Final = 16
"""Answers to one message: the first and fifteen regenerated ones. Limits the search for the current answer."""
FORKS_SHOWN_MAX: Final = 500
"""Forks of a tree in one response."""
SEGMENTS_MAX: Final = 256
"""Segments of a fork's history: each fork of a fork adds one, and each costs every read of the history a look-up."""

SORTABLE: Final = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "title": "title",
    "message_count": "message_count",
}
CURSOR_COLUMNS: Final[Mapping[str, type[datetime | int]]] = {
    "created_at": datetime,
    "updated_at": datetime,
    "message_count": int,
}
"""Columns for cursors: those without NULL. A title may be missing."""
SESSIONS_SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at"}
FILES_SORTABLE: Final = {"created_at": "created_at", "name": "name", "size": "size"}


def search_expression(query: str) -> str:
    """A person's query as a to_tsquery expression: all words must match, the last one as a prefix."""
    words = re.findall(r"\w+", query)[:QUERY_WORDS_MAX]
    if not words:
        raise BadRequest.field("q", "must hold at least one word")
    return " & ".join(words) + ":*"


def text_of(content: Sequence[Mapping[str, Any]]) -> str:
    """The text of a message, for search."""
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def superseded(outline: Iterable[tuple[int, Role, str]]) -> set[int]:
    """Positions of superseded answers, from (position, role, status) in order.

    Consecutive answers answer the same message: the newest completed one counts, or else the newest.
    """
    gone: set[int] = set()
    counting: tuple[int, str] | None = None
    for position, role, status in outline:
        if role is Role.USER:
            counting = None
        elif counting is None:
            counting = (position, status)
        elif status == "completed" or counting[1] != "completed":
            gone.add(counting[0])
            counting = (position, status)
        else:
            gone.add(position)
    return gone
